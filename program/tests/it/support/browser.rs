//! A real Chromium, driven as `WebDriver` says: JSON over HTTP to chromedriver on this machine. That is all
//! that a crate for it would add two dozen others for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::eventually;
use super::http::post;
use super::process::Process;

/// A browser with one window, which ends with the test.
pub struct Browser {
    port: u16,
    session: String,
    _driver: Process,
    _profile: tempfile::TempDir,
}

/// The programs, which `scripts/test` installs.
const DRIVER: &str = "chromedriver";
const MISSING: &str =
    "chromedriver is missing; `scripts/test pages` installs Debian's chromium-driver";

/// A driver, and the port that it listens on. It picks a free port of one kind of address, and gives up
/// where somebody else has the same port of the other kind; so it is asked again.
fn driver() -> (Process, u16) {
    let mut said = String::new();
    for _ in 0..5 {
        let mut command = Command::new(DRIVER);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = Process::start(command);
        for _ in 0..20 {
            let line = driver.line(|line| Some(line.to_owned()));
            if let Some((_, port)) = line.split_once("successfully on port ")
                && let Ok(port) = port.trim_matches(['.', '\n']).parse()
            {
                return (driver, port);
            }
            said.push_str(&line);
        }
    }
    panic!("chromedriver does not say on which port it listens: {said}");
}

impl Browser {
    /// One that runs scripts, or one that runs none.
    pub async fn start(scripts: bool) -> Self {
        let profile = tempfile::tempdir().unwrap();
        assert!(Command::new(DRIVER).arg("--version").output().is_ok(), "{MISSING}");
        let (driver, port) = driver();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".into(),
            "--hide-scrollbars".into(),
            "--disable-dev-shm-usage".into(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        // In a container there is often nobody but root, for whom Chromium has no sandbox.
        arguments.push("--no-sandbox".into());
        let blocked = if scripts { 1 } else { 2 };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments,
                "prefs": {"profile.managed_default_content_settings.javascript": blocked}},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = send(port, "/session", &wanted).await;
        let session = answer["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Self { port, session, _driver: driver, _profile: profile }
    }

    async fn ask(&self, path: &str, body: &Value) -> Value {
        send(self.port, &format!("/session/{}/{path}", self.session), body).await
    }

    /// What a script says.
    pub async fn script(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({"script": script, "args": []})).await
    }

    /// A command of Chromium's own protocol.
    pub async fn chromium(&self, command: &str, params: Value) -> Value {
        self.ask("goog/cdp/execute", &json!({"cmd": command, "params": params})).await
    }

    pub async fn open(&self, url: &str) {
        self.ask("url", &json!({"url": url})).await;
    }

    /// The text of what is shown. Empty while a page is being loaded.
    pub async fn text(&self) -> String {
        self.text_of("body").await
    }

    /// The text of what a selector finds first; nothing where it finds nothing.
    pub async fn text_of(&self, selector: &str) -> String {
        let Some(element) = self.find(selector).await else { return String::new() };
        let path = format!("/session/{}/element/{element}/text", self.session);
        get(self.port, &path).await.as_str().unwrap_or_default().to_owned()
    }

    /// Everything that the server sent of the page.
    pub async fn source(&self) -> String {
        let source = get(self.port, &format!("/session/{}/source", self.session)).await;
        source.as_str().unwrap_or_default().to_owned()
    }

    pub async fn path(&self) -> String {
        let url = get(self.port, &format!("/session/{}/url", self.session)).await;
        let url = url.as_str().unwrap_or_default().to_owned();
        url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default()
    }

    /// What a property of an element holds, such as the `value` of a field.
    pub async fn property(&self, selector: &str, name: &str) -> Value {
        let element = self.find(selector).await.unwrap_or_else(|| panic!("no {selector}"));
        get(self.port, &format!("/session/{}/element/{element}/property/{name}", self.session))
            .await
    }

    async fn find(&self, selector: &str) -> Option<String> {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.ask("element", &wanted).await;
        Some(found.as_object()?.get(ELEMENT)?.as_str()?.to_owned())
    }

    /// Waits until the page shows a text, and fails with what it shows else.
    #[track_caller]
    pub fn shows(&self, text: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let waiting = async {
                while !self.text().await.contains(text) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
                let (path, shown) = (self.path().await, self.text().await);
                panic!("{caller}: {path} never shows {text:?} but\n{shown}");
            }
        }
    }

    /// Presses what a selector finds, by the mouse.
    pub async fn click(&self, selector: &str) {
        let element = self.found(selector).await;
        let answer = self.ask(&format!("element/{element}/click"), &json!({})).await;
        assert!(answer.is_null(), "{selector}: {answer}");
    }

    /// Types into a field, in place of what is there.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.found(selector).await;
        self.ask(&format!("element/{element}/clear"), &json!({})).await;
        let answer = self.ask(&format!("element/{element}/value"), &json!({"text": text})).await;
        assert!(answer.is_null(), "{selector}: {answer}");
    }

    /// Chooses from a list by the value.
    pub async fn choose(&self, selector: &str, value: &str) {
        self.click(&format!("{selector} option[value=\"{value}\"]")).await;
    }

    async fn found(&self, selector: &str) -> String {
        let what = format!("{selector} is on the page");
        eventually(&what, async || self.find(selector).await.is_some()).await;
        self.find(selector).await.unwrap_or_else(|| panic!("{what}"))
    }

    /// What the console has said since it was asked last that is wrong.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.ask("se/log", &json!({"type": "browser"})).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        let wrong = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        wrong.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Makes the window so wide, in this scheme.
    pub async fn looks(&self, width: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500});
        self.chromium("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]});
        self.chromium("Emulation.setEmulatedMedia", scheme).await;
    }

    /// Writes a picture of the page, as far down as 1600 pixels.
    pub async fn picture(&self, file: &Path) {
        let size =
            self.chromium("Page.getLayoutMetrics", json!({})).await["cssContentSize"].clone();
        let height = size["height"].as_f64().unwrap_or(800.0).min(1600.0);
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1});
        let wanted =
            json!({"format": "webp", "quality": 60, "captureBeyondViewport": true, "clip": clip});
        let picture = self.chromium("Page.captureScreenshot", wanted).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}

impl Drop for Browser {
    /// Ends the browser, which would outlive its driver.
    fn drop(&mut self) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return };
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
            self.session
        );
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.read(&mut [0; 1]);
    }
}

async fn send(port: u16, path: &str, body: &Value) -> Value {
    let kind = [("content-type", "application/json")];
    value(&post(port, path, &kind, &body.to_string()).await.body)
}

async fn get(port: u16, path: &str) -> Value {
    value(&super::http::get(port, path).await.body)
}

fn value(body: &str) -> Value {
    let answer: Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    answer["value"].clone()
}

/// How long a page may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// What `WebDriver` calls an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
