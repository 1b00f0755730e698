//! What rows say, whatever they are written in, and what is refused.

use std::io;

use super::*;

const TENANT: &str = "6f1c0a52-8d3e-4b7a-9c55-0e2f4a6b8d10";

fn entries(text: &str) -> Result<Vec<Entry>, NoBatch> {
    entries_with(text, Defaults::default())
}

fn entries_with(text: &str, defaults: Defaults) -> Result<Vec<Entry>, NoBatch> {
    let from = Box::new(Cursor::new(text.to_owned().into_bytes()));
    Entries::read(from, defaults)?.collect()
}

/// With a tenant and a caller for all rows.
fn given() -> Defaults {
    let (tenant, from) = (TENANT.parse().ok(), "+971501234567".parse().ok());
    Defaults { tenant, from, ..Defaults::default() }
}

/// Line, destination and fields of each entry.
fn seen(entries: &[Entry]) -> Vec<(u64, &str, String)> {
    let requests = entries.iter().map(|entry| (entry.line, entry.request.as_ref().unwrap()));
    requests
        .map(|(line, request)| {
            (line, request.to.as_str(), Value::from(request.fields.clone()).to_string())
        })
        .collect()
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let csv =
        format!("\u{feff}to,from,tenant,lead\n050 1,+971501234567,{TENANT},\"A, \"\"B\"\"\nC\"\n");
    let json = format!(
        "\n{{\"to_number\":\"050 1\",\"from_number\":\"+971501234567\",\"tenant_id\":\"{TENANT}\",\"lead\":\"A, \\\"B\\\"\\nC\"}}\n"
    );
    let (csv, json) = (entries(&csv).unwrap(), entries(&json).unwrap());
    let (ours, theirs) = (csv[0].request.as_ref().unwrap(), json[0].request.as_ref().unwrap());
    assert_eq!(
        (&ours.caller, &ours.to, &ours.fields),
        (&theirs.caller, &theirs.to, &theirs.fields)
    );
    assert_eq!(ours.fields["lead"], "A, \"B\"\nC");
    assert_eq!(csv[0].digest, json[0].digest);
    assert_eq!((csv[0].line, json[0].line), (2, 2));
}

#[test]
fn a_line_that_is_wrong_says_so_and_the_next_is_read() {
    let text = format!(
        "tenant,from,to\n{TENANT},+971501234567\n{TENANT},0501234567,1\nnobody,+971501234567,1\n\
         {TENANT},+971501234567,\n{TENANT},+971501234567,9\n"
    );
    let wrong: Vec<_> = entries(&text)
        .unwrap()
        .into_iter()
        .map(|entry| (entry.line, entry.request.err().unwrap_or_default()))
        .collect();
    for ((line, wrong), words) in wrong.iter().zip([
        (2, "2 fields, where the headings are 3"),
        (3, "from: a number must begin with +"),
        (4, "tenant: "),
        (5, "there is no number to call"),
        (6, ""),
    ]) {
        assert_eq!(*line, words.0);
        assert!(wrong.contains(words.1), "{wrong}");
    }
    let json = "{\"to\":[1]}\nnonsense\n{\"to\":\"1\"}\n";
    let wrong: Vec<_> =
        entries(json).unwrap().into_iter().map(|entry| entry.request.unwrap_err()).collect();
    assert_eq!(wrong[0], "to must be a text");
    assert!(wrong[1].starts_with("not a JSON object"), "{wrong:?}");
    assert_eq!(wrong[2], "there is no number that calls: from");
}

#[test]
fn what_is_no_batch_is_refused_at_once() {
    for (text, words) in [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (",,\n , \n", "the file is empty"),
        ("from,tenant\n", "no column \"to\"; found the headings \"from\", \"tenant\", separated"),
        ("to,tenant\n", "no column \"from\""),
        (
            "to;from\n",
            "no column \"tenant\"; found the headings \"to\", \"from\", separated by semi",
        ),
        ("to|from\n", "found the one heading \"to|from\", with no commas in it"),
        ("to,To Number,from,tenant\n", "\"to\" and \"To Number\" name the same column"),
        ("to,x, x ,from,tenant\n", "\"x\" and \" x \" name the same column"),
        ("[{\"to\":\"1\"}]\n", "JSON lines"),
        ("{\n  \"to\": \"1\"\n}\n", "JSON lines"),
        ("to,from,tenant\n1,2,\"3\n", "a quote opens on line 2 and never closes"),
        ("to,from,tenant,job\n1,2,3,j\n", ""),
    ] {
        let error = match entries(text) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        assert_eq!(words.is_empty(), error.is_empty(), "{text:?}: {error}");
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn headings_are_ours_whatever_their_case_and_blanks() {
    let text = format!("Lead, TO number ,From,Tenant ID,Job\nA,1,+971501234567,{TENANT}, j-1 \n");
    let entries = entries(&text).unwrap();
    assert_eq!(seen(&entries), [(2, "1", "{\"Lead\":\"A\"}".to_owned())]);
    assert_eq!(entries[0].request.as_ref().unwrap().job, "j-1");
    let json = "{\"TO\":\"1\",\"lead\":\"A\"}\n";
    let entries = entries_with(json, given()).unwrap();
    assert_eq!(seen(&entries), [(1, "1", "{\"lead\":\"A\"}".to_owned())]);
}

#[test]
fn a_column_may_have_a_name_of_its_own() {
    let mapped =
        |heading: &str| Defaults { columns: vec![(Column::To, heading.to_owned())], ..given() };
    for text in ["phone,lead\n1,A\n", "{\"phone\":\"1\",\"lead\":\"A\"}"] {
        let entries = entries_with(text, mapped("Phone")).unwrap();
        let lead = "{\"lead\":\"A\"}".to_owned();
        assert_eq!((seen(&entries)[0].1, &seen(&entries)[0].2), ("1", &lead));
    }
    let both = entries_with("phone,to\n1,2\n", mapped("phone")).unwrap_err();
    assert!(matches!(both, NoBatch::ColumnTwice { .. }), "{both}");
    let none = entries_with("to\n1\n", mapped("phone")).unwrap_err().to_string();
    assert!(none.starts_with("there is no heading \"phone\"; found the one heading"), "{none}");
}

#[test]
fn the_separator_is_found_or_told() {
    let a = [(2, "1", "{\"a\":\"x\"}".to_owned())];
    for (text, lines) in [
        ("to,a\n1,x\n", 0),
        ("to;a\n1;x\n", 0),
        ("to\ta\n1\tx\n", 0),
        ("sep=;\r\nto;a\r\n1;x\r\n", 1),
        ("\u{feff}\"sep=|\"\nto|a\n1|x\n", 1),
        ("\n\n;\nto;a\n1;x\n", 3),
    ] {
        let entries = entries_with(text, given()).unwrap();
        let expected: Vec<_> =
            a.iter().map(|(line, to, more)| (line + lines, *to, more.clone())).collect();
        assert_eq!(seen(&entries), expected, "{text:?}");
    }
    // What is told holds.
    let told = |separator: &str| Defaults { separator: separator.parse().ok(), ..given() };
    assert_eq!(seen(&entries_with("to|a\n1|x\n", told("|")).unwrap()), a);
    let text = "sep=;\nto,a;b\n1,x;y\n";
    let entries = entries_with(text, told("comma")).unwrap();
    assert_eq!(seen(&entries), [(3, "1", "{\"a;b\":\"x;y\"}".to_owned())]);
}

#[test]
fn what_is_empty_is_neither_column_nor_entry() {
    let text = "to,a,,\n1,x,,\n,,,\n  ,\t,,\n\n2,y,,,,\n3,z,,w\n4,z,,,w\n";
    let entries = entries_with(text, given()).unwrap();
    assert_eq!(
        seen(&entries[..2]),
        [(2, "1", "{\"a\":\"x\"}".to_owned()), (6, "2", "{\"a\":\"y\"}".to_owned())]
    );
    let wrong: Vec<_> =
        entries[2..].iter().map(|entry| entry.request.as_ref().unwrap_err()).collect();
    assert_eq!(
        wrong,
        ["column 4 has a value and no heading", "5 fields, where the headings are 4"]
    );
}

#[test]
fn a_member_that_is_there_twice_is_invalid() {
    let text = format!(
        "{{\"to\":\"1\",\"tenant\":\"{TENANT}\",\"tenant_id\":\"x\"}}\n{{\"to\":\"1\",\"to\":\"2\"}}\n\
         {{\"to\":\"1\",\"a\":1,\"a\":1}}\n{{\"to\":\"1\",\"a\":1,\"A\":1}}\n"
    );
    let entries = entries_with(&text, given()).unwrap();
    for (entry, name) in entries.iter().zip(["tenant", "to", "a"]) {
        let wrong = entry.request.as_ref().unwrap_err();
        assert_eq!(*wrong, format!("there are two values for {name:?}"));
    }
    assert!(entries[3].request.is_ok(), "fields of one's own have their case");
}

#[test]
fn two_entries_with_one_job_are_no_batch() {
    let text = "to,job\n1,a\n2,\n3,\n4,b\n5, a\n";
    let error = entries_with(text, given()).unwrap_err().to_string();
    assert!(error.starts_with("lines 2 and 6 have the same job, \"a\""), "{error}");
}

#[test]
fn columns_of_results_are_none_if_all_of_them_are_there() {
    let text = "to,Outcome,reason,dialled,room,line,attempts\n1,busy,busy,+1,r,2,3\n";
    let entries = entries_with(text, given()).unwrap();
    assert_eq!(seen(&entries), [(2, "1", "{}".to_owned())]);
    assert_eq!(entries[0].attempts, 3);
    let own = entries_with("to,room,line\n1,12,red\n", given()).unwrap();
    assert_eq!(seen(&own), [(2, "1", "{\"line\":\"red\",\"room\":\"12\"}".to_owned())]);
}

#[test]
fn what_cannot_be_read_on_is_no_end_of_the_file() {
    struct Torn(Cursor<Vec<u8>>);
    impl Read for Torn {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into) {
                Ok(0) => Err(io::Error::other("the disk is torn")),
                read => read,
            }
        }
    }
    for (head, row) in [("to,from,tenant\n", "1,2,3\n"), ("", "{\"to\":\"1\"}\n")] {
        let text = head.to_owned() + &row.repeat(20_000);
        let from = BufReader::new(Torn(Cursor::new(text.into())));
        let mut entries = Entries::read(Box::new(from), Defaults::default()).unwrap();
        assert_eq!(entries.by_ref().take_while(Result::is_ok).count(), 20_000);
        assert!(entries.next().is_none(), "once");
    }
}

#[test]
fn a_number_with_a_fraction_is_none() {
    let entries = entries("{\"to\":4155552671.0}\n{\"to\":4155552671}\n").unwrap();
    assert_eq!(entries[0].request.as_ref().unwrap_err(), "to must be a text");
    assert!(entries[1].request.as_ref().unwrap_err().starts_with("there is no number that calls"));
}

#[test]
fn another_entry_on_the_same_line_has_another_digest() {
    let line = |to: &str| format!("to,from,tenant\n{to},+971501234567,{TENANT}\n");
    let digest = |to| entries(&line(to)).unwrap()[0].digest;
    assert_eq!(digest("1"), digest("1"));
    assert_ne!(digest("1"), digest("2"));
}

#[test]
fn other_line_ends_separators_and_encodings_make_no_other_entry() {
    let text = "to,a\n1,\"x\ny\"\n";
    let keys = |text: &str| {
        let entries = entries_with(text, given()).unwrap();
        entries.iter().map(|entry| (entry.line, entry.digest)).collect::<Vec<_>>()
    };
    for end in ["\r\n", "\r"] {
        assert_eq!(keys(&text.replace('\n', end)), keys(text), "{end:?}");
    }
    assert_eq!(keys(&text.replace(',', ";")), keys(text));
}
