//! What was altered, taken out or put in is found: in the database by the chain, and what was cut off by a
//! head that somebody remembers.

use super::{broken, head, rows, seal_all, verify, without_guards};
use crate::support::database::{BOTH, Kind, TestDatabase};
use crate::support::{caller, number};

/// A database whose audit has six rows, sealed.
async fn sealed(kind: Kind) -> TestDatabase {
    let database = TestDatabase::migrated(kind).await;
    for at in 1..=6 {
        database.store().add_number(&number(caller(1, at), None)).await.unwrap();
    }
    assert_eq!(seal_all(&database).await, 6);
    without_guards(&database).await;
    database
}

#[tokio::test]
async fn a_chain_that_nobody_touched_holds_and_goes_on() {
    for kind in BOTH {
        let database = sealed(kind).await;
        let first = head(&database);
        database.store().remove_number(caller(1, 1)).await.unwrap();
        let verified = verify(&database, &[]).json();
        assert_eq!((&verified["verified"], &verified["unsealed"]), (&6.into(), &1.into()));
        assert_eq!(seal_all(&database).await, 1);
        let verified = verify(&database, &["--head", &first]).json();
        assert_eq!((&verified["verified"], &verified["unsealed"]), (&7.into(), &0.into()));
        assert_eq!((&verified["position"], &verified["begins_after"]), (&7.into(), &0.into()));
        assert_ne!(verified["head"], first.as_str());
    }
}

#[tokio::test]
async fn a_row_that_was_changed_deleted_or_put_in_is_found() {
    for kind in BOTH {
        for (harm, words) in [
            ("update trunkline_audit set claimed = '{\"actor\": \"eve\"}' where id = 3",
                "row 3 at position 3 is not what was sealed"),
            ("update trunkline_audit set at = '2001-01-01T00:00:00Z' where id = 6",
                "row 6 at position 6 is not"),
            ("delete from trunkline_audit where id = 4", "row 4 at position 4 is gone"),
            ("delete from trunkline_audit_chain where position = 5", "position 5 of the chain"),
            ("delete from trunkline_audit_chain where position = 1", "position 1 of the chain"),
            ("update trunkline_audit_chain set hash = '@'  where position = 2", "row 2 at position 2"),
            ("update trunkline_audit_chain set hash = 'none' where position = 2",
                "row 2 at position 2"),
            ("update trunkline_audit_chain set audit_id = 0 - audit_id; 
              update trunkline_audit_chain set audit_id = case audit_id when -2 then 3 when -3 then 2
                else 0 - audit_id end", "row 3 at position 2"),
        ] {
            let database = sealed(kind).await;
            database.sql(&harm.replace('@', &"f".repeat(64))).await;
            broken(&database, &[], words);
        }
        // A row that is put in and chained moves those after it.
        let database = sealed(kind).await;
        let (columns, values) = match kind {
            Kind::Postgres => ("at, ", "now(), "),
            Kind::Sqlite => ("", ""),
        };
        database
            .sql(&format!(
                "insert into trunkline_audit ({columns}entity, operation)
            values ({values}'config', 'delete');
            update trunkline_audit_chain set position = -1 - position where position > 3;
            update trunkline_audit_chain set position = 0 - position where position < 0;
            insert into trunkline_audit_chain (position, audit_id, hash)
                values (4, 7, '{}')",
                "a".repeat(64)
            ))
            .await;
        broken(&database, &[], "row 7 at position 4");
    }
}

#[tokio::test]
async fn an_end_that_was_cut_off_and_a_chain_that_was_written_anew_lack_the_head_of_the_log() {
    for kind in BOTH {
        let database = sealed(kind).await;
        let logged = head(&database);
        database
            .sql(
                "delete from trunkline_audit_chain where position > 4;
            delete from trunkline_audit where id > 4",
            )
            .await;
        verify(&database, &[]).ok();
        broken(&database, &["--head", &logged], "does not have the hash");

        let database = sealed(kind).await;
        let logged = head(&database);
        database
            .sql("delete from trunkline_audit_chain; delete from trunkline_audit where id = 2")
            .await;
        assert_eq!(seal_all(&database).await, 5);
        verify(&database, &[]).ok();
        broken(&database, &["--head", &logged], "does not have the hash");
        let (code, _) = verify(&database, &["--head", "abc"]).failed();
        assert_eq!(code, 2);
    }
}

#[tokio::test]
async fn an_export_is_verified_without_the_database_by_us_and_by_any_tool() {
    for kind in BOTH {
        let database = sealed(kind).await;
        let (program, folder) = (super::program(&database), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let whole = path("whole");
        program.run(&["audit", "export", "--output", &whole]).ok();
        let text = std::fs::read_to_string(&whole).unwrap();
        assert_eq!(program.run(&["audit", "export"]).ok(), text);
        assert_eq!(program.run(&["audit", "export", "--output", &whole]).failed_words().0, 1);
        let elsewhere = crate::support::program::Program::new();
        let verify = |path: &str, more: &[&str]| {
            let arguments = [&["audit", "verify", "--json", "--file", path], more].concat();
            elsewhere.run(&arguments)
        };
        let head = head(&database);
        let verified = verify(&whole, &["--head", &head]).json();
        assert_eq!((&verified["verified"], &verified["head"]), (&6.into(), &head.as_str().into()));

        let script = "import hashlib, sys\nlast = '0' * 64\nfor line in open(sys.argv[1]):\n    \
            row = line.rstrip('\\n').split(',\"row\":', 1)[1][:-1]\n    \
            digest = hashlib.sha256(row.encode()).hexdigest()\n    \
            last = hashlib.sha256((last + digest).encode()).hexdigest()\nprint(last)";
        let python = std::process::Command::new("python3").args(["-c", script, &whole]).output();
        assert_eq!(String::from_utf8(python.unwrap().stdout).unwrap().trim(), head);

        let (first, rest) = (path("first"), path("rest"));
        let lines: Vec<_> = text.lines().collect();
        std::fs::write(&first, lines[..2].join("\n")).unwrap();
        verify(&first, &[]).ok();
        program.run(&["audit", "export", "--after", "2", "--output", &rest]).ok();
        let verified = verify(&rest, &[]).json();
        assert_eq!((&verified["verified"], &verified["begins_after"]), (&4.into(), &2.into()));
        std::fs::write(&first, text.replacen("\"insert\"", "\"update\"", 1)).unwrap();
        assert_eq!(verify(&first, &[]).failed().1["error"], "audit_broken");
        std::fs::write(&first, "not a line").unwrap();
        assert_eq!(verify(&first, &[]).failed().1["error"], "audit_broken");
        assert_eq!(verify(&path("none"), &[]).failed().1["error"], "file_unreadable");
        assert_eq!(rows(&database).await.len(), 6);
    }
}
