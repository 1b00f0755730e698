//! Files that settings stand in: what is no regular file, what changes under a daemon, and who else
//! may read or write them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// What is no regular file, by a name.
fn odd_files(folder: &Path) -> Vec<(String, &'static str)> {
    let fifo = folder.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let directory = folder.join("directory");
    fs::create_dir(&directory).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    vec![
        (path(&directory), "is a directory"),
        (path(&fifo), "is not a regular file"),
        ("/dev/zero".to_owned(), "is not a regular file"),
    ]
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (file, why) in odd_files(folder.path()) {
        let as_settings = Program::new().command(&["settings", "check", "--env-file", &file]);
        let as_secret = Program::new().with("LIVEKIT_API_SECRET_FILE", &file);
        for mut command in [as_settings, as_secret.command(&["settings", "check"])] {
            let output = within(SOON, move || command.stdin(Stdio::null()).output().unwrap());
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{err}");
            assert!(err.contains(&format!("{file} {why}")), "{err}");
        }
    }
    fs::create_dir(folder.path().join(".env")).unwrap();
    let mut command = Program::new().command(&["settings", "check"]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    let output = within(SOON, move || command.output().unwrap());
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains(".env is a directory"));
}

#[test]
fn under_a_running_daemon_the_old_settings_hold_and_it_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let (odd, settings) = (folder.path().join("odd"), folder.path().join("settings"));
    fs::create_dir_all(&odd).unwrap();
    fs::create_dir_all(&settings).unwrap();
    for (file, why) in odd_files(&odd) {
        let named = settings.join("x.env");
        let secret = settings.join("secret");
        for path in [&named, &secret] {
            let _ = fs::remove_file(path);
        }
        fs::write(&secret, "canary").unwrap();
        let line = format!("LIVEKIT_API_SECRET_FILE={}\n", secret.display());
        fs::write(&named, line).unwrap();
        let log = settings.join("log");
        let program = Program::new().with("HOME", folder.path().to_str().unwrap());
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--env-file", named.to_str().unwrap()];
        let mut command = program.command(&arguments);
        command.stderr(fs::File::create(&log).unwrap());
        let daemon = Running::start(command);
        let address =
            daemon.line().split(['/', ' ']).nth(4).unwrap().trim_end_matches(':').to_owned();
        let becomes = |what: &str| {
            let look = Duration::from_millis(20);
            for _ in 0..SOON.as_millis() / look.as_millis() {
                if fs::read_to_string(&log).unwrap().contains(what) {
                    return;
                }
                std::thread::sleep(look);
            }
            panic!("never said {what}: {}", fs::read_to_string(&log).unwrap());
        };
        for path in [&secret, &named] {
            let fresh = settings.join("fresh");
            std::os::unix::fs::symlink(&file, &fresh).unwrap();
            fs::rename(&fresh, path).unwrap();
            becomes(&format!("{} {why}", path.display()));
            program.run(&["healthcheck", "--listen", &address]).ok();
        }
        assert!(fs::read_to_string(&log).unwrap().contains("the old ones hold"));
        assert_eq!(daemon.end_by("-TERM"), Some(0));
    }
}

#[test]
fn a_file_that_everybody_may_write_is_refused_and_one_that_they_may_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let key = write_file(folder.path(), "key", &new_key());
    let file =
        write_file(folder.path(), "x.env", &format!("{KEY}_FILE={key}\nPGPASSWORD=canary\n"));
    let check = |key_mode, file_mode| {
        for (path, mode) in [(&key, key_mode), (&file, file_mode)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Program::new().run(&["settings", "check", "--json", "--env-file", &file])
    };
    assert_eq!(warnings(check(0o600, 0o600)), [""; 0]);
    let said = warnings(check(0o644, 0o644));
    assert!(said.len() == 2 && said.iter().all(|said| said.contains("chmod o-r")), "{said:?}");
    for (key, file) in [(0o602, 0o600), (0o600, 0o602)] {
        let error = refused(check(key, file), 3, "settings_invalid");
        assert!(error["message"].as_str().unwrap().contains("chmod o-w"), "{error}");
    }
}
