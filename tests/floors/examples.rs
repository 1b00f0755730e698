//! That each form of a path is seen, and what is no import is not: on sources of a few lines.

use std::collections::BTreeSet;

use crate::floors::{circles, forbidden, misplaced, not_down};
use crate::imports::{Import, imports};
use crate::place;
use crate::source::{Files, LIBRARY, PROGRAM, Tree};

/// The root of a library with three rooms; two of them have a child.
const ROOT: &str = "
    mod lower;
    mod upper;
    mod other;
    pub use self::lower::Thing;
";

fn read(files: &[(&str, &str)]) -> (Vec<Import>, Vec<String>) {
    let mut all = Files::from([
        ("src/lib.rs".into(), ROOT.into()),
        ("src/lower.rs".into(), "mod deep; pub use self::deep::Pearl; pub struct Thing;".into()),
        ("src/lower/deep.rs".into(), "pub struct Pearl;".into()),
        ("src/other.rs".into(), String::new()),
        ("src/upper.rs".into(), "mod inner;".into()),
        ("src/upper/inner.rs".into(), String::new()),
        ("program/src/main.rs".into(), "mod cli;".into()),
        ("program/src/cli.rs".into(), String::new()),
    ]);
    all.extend(files.iter().map(|(file, text)| ((*file).into(), (*text).into())));
    let mut tree = Tree::default();
    tree.read(&all, LIBRARY, "src/lib.rs");
    tree.read(&all, PROGRAM, "program/src/main.rs");
    imports(&tree)
}

/// What a file with this text imports from other rooms, as `line to`.
fn seen_in(file: &str, text: &str) -> Vec<String> {
    let (imports, refused) = read(&[(file, text)]);
    assert!(refused.is_empty(), "{refused:?}");
    let of_file = imports.iter().filter(|import| import.file == file);
    let elsewhere = of_file.filter(|import| import.to.get(1) != import.from.get(1));
    elsewhere.map(|import| format!("{} {}", import.line, import.to.join("::"))).collect()
}

fn seen(text: &str) -> Vec<String> {
    seen_in("src/upper/inner.rs", text)
}

fn refused(text: &str) -> String {
    read(&[("src/upper/inner.rs", text)]).1.join("\n")
}

const LOWER: [&str; 1] = ["1 trunkline::lower"];
const DEEP: [&str; 2] = ["1 trunkline::lower", "1 trunkline::lower::deep"];

#[test]
fn a_use_is_seen() {
    assert_eq!(seen("use crate::lower::Thing;"), LOWER);
    assert_eq!(seen("use crate::lower;"), LOWER);
    assert_eq!(seen("use crate::lower::*;"), LOWER);
    assert_eq!(seen("use crate::lower::Thing as Other;"), LOWER);
    assert_eq!(seen("use crate::lower::Thing as _;"), LOWER);
    assert_eq!(seen("pub(crate) use crate::lower::Thing;"), LOWER);
}

#[test]
fn each_member_of_a_group_is_seen_on_its_line() {
    let text = "use crate::{\n other,\n lower::{self,\n deep::{Pearl as P}},\n};";
    let expected = ["2 trunkline::other", "3 trunkline::lower", "4 trunkline::lower::deep"];
    assert_eq!(seen(text), expected);
}

#[test]
fn a_path_in_code_is_seen() {
    assert_eq!(seen("fn f() { crate::lower::Thing::new() }"), LOWER);
    assert_eq!(seen("fn f(_: Vec<crate::lower::Thing>) {}"), LOWER);
    assert_eq!(seen("fn f() -> crate::lower::Thing { g(|| [1]) }"), LOWER);
    assert_eq!(seen("fn f() { Vec::<crate::lower::Thing>::new() }"), LOWER);
    assert_eq!(seen("fn f() { use crate::lower::Thing; }"), LOWER);
    assert_eq!(seen("impl crate::lower::Thing {}"), LOWER);
}

#[test]
fn a_path_in_a_macro_is_seen() {
    assert_eq!(seen("fn f() { format!(\"{}\", crate::lower::Thing) }"), LOWER);
    assert_eq!(seen("macro_rules! m { () => { $crate::lower::Thing } }"), LOWER);
    assert_eq!(seen("macro_rules! m { () => { use $crate::lower::Thing; } }"), LOWER);
    assert_eq!(seen("macro_rules! m { ($it:ident) => { crate::lower::$it } }"), LOWER);
}

#[test]
fn a_path_in_an_attribute_is_seen() {
    assert_eq!(seen("#[error(\"{}\", crate::lower::f(.0))] struct E;"), LOWER);
    assert_eq!(seen("struct S { #[serde(with = \"crate::lower\")] f: u8 }"), LOWER);
    assert_eq!(seen("#![expect(x, reason = \"not crate::lower\")]"), [""; 0]);
}

#[test]
fn a_path_by_super_is_seen() {
    assert_eq!(seen("use super::super::lower::Thing;"), LOWER);
    assert_eq!(seen_in("src/upper.rs", "mod inner; use super::lower::Thing;"), LOWER);
    assert_eq!(seen("use super::lower::Thing;"), [""; 0]);
}

#[test]
fn an_inline_module_is_a_step_of_super() {
    assert_eq!(seen("mod more { use super::super::super::lower::Thing; }"), LOWER);
    assert_eq!(seen("mod more { use super::super::lower::Thing; }"), [""; 0]);
}

#[test]
fn a_path_by_self_is_seen() {
    assert_eq!(seen("use self::more::Pearl; mod more { pub use crate::lower::Pearl; }")[..2], DEEP);
    assert_eq!(seen("use crate::lower as l; fn f() { self::l::deep::f() }"), DEEP);
}

#[test]
fn what_the_root_shows_is_of_the_room_that_has_it() {
    assert_eq!(seen("use crate::Thing;"), LOWER);
    assert_eq!(seen("fn f(_: crate::Thing) {}"), LOWER);
}

#[test]
fn what_a_room_shows_is_of_it_and_of_the_module_that_has_it() {
    assert_eq!(seen("use crate::lower::Pearl;"), DEEP);
    let shown_by_upper = "mod inner; pub use crate::lower::Pearl;";
    let files = [("src/upper.rs", shown_by_upper), ("src/other.rs", "use crate::upper::Pearl;")];
    let (imports, _) = read(&files);
    let of_other = imports.iter().filter(|import| import.file == "src/other.rs");
    let to: Vec<_> = of_other.map(|import| import.to.join("::")).collect();
    assert_eq!(to, ["trunkline::lower", "trunkline::lower::deep", "trunkline::upper"]);
}

#[test]
fn a_module_by_another_name_is_followed() {
    assert_eq!(seen("use crate as c; fn f() { c::lower::f() }"), LOWER);
    assert_eq!(seen("use crate::{self as c}; fn f() { c::lower::f() }"), LOWER);
    assert_eq!(seen("use super::super as up; fn f() { up::lower::f() }"), LOWER);
}

#[test]
fn the_program_imports_from_the_library_by_its_name() {
    assert_eq!(seen_in("program/src/cli.rs", "use trunkline::lower::Thing;"), LOWER);
    assert_eq!(seen_in("program/src/cli.rs", "use trunkline::{Thing};"), LOWER);
    assert_eq!(seen_in("program/src/cli.rs", "use ::trunkline::Thing;"), LOWER);
    assert_eq!(seen_in("program/src/cli.rs", "fn f(_: trunkline::Thing) {}"), LOWER);
    assert_eq!(seen_in("program/src/cli.rs", "fn f() -> ::trunkline::Thing {}"), LOWER);
    assert_eq!(
        seen_in("program/src/main.rs", "mod cli; fn main() { cli::run() }"),
        ["1 main::cli"]
    );
    assert_eq!(seen_in("program/src/cli.rs", "use crate::f;"), ["1 main"]);
}

#[test]
fn what_is_for_tests_alone_is_no_import() {
    for text in [
        "#[cfg(test)] mod tests { use crate::lower::Thing; }",
        "#[cfg(test)] mod tests; ",
        "#[cfg(all(test, unix))] mod tests { use crate::lower::Thing; }",
        "#[cfg(any(test))] #[expect(x)] pub(crate) use crate::lower::{Thing};",
        "#[cfg(test)] fn f<A, B>(_: crate::lower::Thing) { crate::lower::f() }",
        "#[cfg(test)] impl crate::lower::Thing { fn f() {} }",
        "struct S { #[cfg(test)] f: crate::lower::Thing, g: u8 }",
        "#![cfg(test)] struct S; use crate::lower::Thing;",
    ] {
        assert_eq!(seen(text), [""; 0], "{text}");
    }
}

#[test]
fn what_follows_or_is_not_for_tests_alone_is_an_import() {
    for text in [
        "#[cfg(test)] mod tests {} use crate::lower::Thing;",
        "#[cfg(test)] mod tests; use crate::lower::Thing;",
        "struct S { #[cfg(test)] f: u8, g: crate::lower::Thing }",
        "#[cfg(not(test))] use crate::lower::Thing;",
        "#[cfg(any(test, unix))] use crate::lower::Thing;",
        "#[cfg(feature = \"test\")] use crate::lower::Thing;",
    ] {
        assert_eq!(seen(text), LOWER, "{text}");
    }
}

#[test]
fn comments_texts_and_other_crates_are_no_imports() {
    for text in [
        "// crate::lower::Thing\n/* use crate::lower; */",
        "//! [`crate::lower::Thing`]\n/// [`crate::lower`]\nstruct S;",
        "#[doc = \"crate::lower::Thing\"] struct S;",
        "fn f() { g(\"crate::lower::Thing\") }",
        "use crate as c; use ::c::lower::Thing; fn f() { ::c::lower::f() }",
        "use lower::Thing; use ::lower::Thing; fn f() { ::other::f(); lower::f() }",
        "pub(in crate::upper) fn f() { Self::g(); self.h::<u8>() }",
    ] {
        assert_eq!(seen(text), [""; 0], "{text}");
    }
}

#[test]
fn what_would_bring_in_code_unseen_is_refused() {
    for (text, what) in [
        ("#[path = \"x.rs\"] mod x;", "`path`"),
        ("#[macro_use] mod x {}", "`macro_use`"),
        ("#[macro_export] macro_rules! m { () => {} }", "`macro_export`"),
        ("include!(\"x.rs\");", "`include`"),
        ("extern crate self as me;", "`extern`"),
        ("mod nowhere;", "src/upper/inner/nowhere.rs is missing"),
        ("use crate::Unknown;", "`crate::Unknown` is nothing"),
        ("use crate::*;", "`crate::*` takes all"),
        ("fn f() { crate::$name::f() }", "is nothing"),
        ("fn f( {}", "src/upper/inner.rs:"),
    ] {
        assert!(refused(text).contains(what), "{text}: {}", refused(text));
    }
}

fn of(text: &str) -> Vec<Import> {
    read(&[("src/upper/inner.rs", text)]).0
}

#[test]
fn only_an_import_from_below_is_accepted() {
    let imports = of("\nuse crate::lower::Thing;");
    assert!(not_down(&imports, &[&["lower", "other"], &["upper"], &["cli"], &["main"]]).is_empty());
    let message = |floors: &[&[&str]]| not_down(&imports, floors).join("\n");
    let sideways = message(&[&["lower", "upper", "other"], &["cli"], &["main"]]);
    assert!(sideways.starts_with("src/upper/inner.rs:2: `crate::lower::Thing` goes from `upper` (floor 0) sideways to `lower` (floor 0): "), "{sideways}");
    let up = message(&[&["upper"], &["lower"], &["cli"], &["main"]]);
    assert!(up.contains("from `upper` (floor 0) up to `lower` (floor 1)"), "{up}");
}

#[test]
fn a_room_without_a_floor_and_a_floor_without_a_room_are_told() {
    let told = |rooms: &[&'static str], floors: &[&[&str]]| {
        misplaced(&rooms.iter().copied().collect::<BTreeSet<_>>(), floors).join("\n")
    };
    assert_eq!(told(&["a", "b"], &[&["a"], &["b"]]), "");
    assert!(told(&["a", "b"], &[&["a"]]).starts_with("`b` stands on no floor"));
    assert!(told(&["a"], &[&["a", "b"]]).starts_with("`b` stands on a floor and not in src/"));
    assert!(told(&["a"], &[&["a"], &["a"]]).starts_with("`a` stands on two floors"));
}

#[test]
fn a_circle_within_a_room_is_told_once_and_its_parent_is_no_part_of_it() {
    let circle = |inner: &str, more: &str| {
        let parent = "mod inner; mod more; pub use self::inner::A;";
        let files =
            [("src/upper.rs", parent), ("src/upper/inner.rs", inner), ("src/upper/more.rs", more)];
        circles(&read(&files).0, &place("upper"))
    };
    assert!(circle("use super::more::B;", "use super::Nothing;").is_empty());
    let told = circle("use super::more::B;", "\nuse super::A;");
    let expected = "a circle within trunkline::upper: src/upper/inner.rs:1: `super::more::B`, \
                    then src/upper/more.rs:2: `super::A`";
    assert_eq!(told, [expected]);
}

#[test]
fn an_import_between_two_that_stand_apart_is_told() {
    let imports = of("use crate::lower::deep::Pearl;");
    let told = forbidden(&imports, &place("upper"), &place("lower::deep"));
    let expected = "src/upper/inner.rs:1: `crate::lower::deep::Pearl` makes trunkline::upper \
                    know of trunkline::lower::deep";
    assert_eq!(told, [expected]);
    assert!(forbidden(&imports, &place("upper"), &place("other")).is_empty());
}
