//! Every module of the product stands on a floor, and imports only from floors below.
//!
//! A *room* is a file right below `src/` or `program/src/` with the folder of the same name. Reading the code from
//! the lowest floor up, nothing is met before it was explained; a change to a room can break those
//! above it and no others. The files within a room have an order, too, where it is named here.
//!
//! Counted is every path, in whatever form: `use` and its groups, paths in code, in macros and in
//! attributes, `super` and `self`, and what is re-exported. Unit tests may import what they like.

mod examples;
mod floors;
mod imports;
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use self::floors::{circles, forbidden, misplaced, not_down};
use self::imports::{Import, imports, room};
use self::source::{LIBRARY, PROGRAM, Place, Tree, files_of};

/// The rooms, the lowest floor first. ARCHITECTURE.md says what each is for.
const FLOORS: &[&[&str]] = &[
    &[
        "backoff",
        "clock",
        "keyring",
        "lifecycle",
        "number",
        "reason",
        "server_url",
        "sync",
        "telemetry",
        "token",
    ],
    &["access", "change", "credentials", "rollout", "rules"],
    &["answer", "audit", "routing"],
    &["cache", "environment"],
    &["settings"],
    &["store"],
    &["changes", "draft"],
    &["nodes"],
    &["rotation", "schedule"],
    &["resolver"],
    &["dispatch"],
    &["official", "server"],
    &["cli"],
    &["main"],
];

/// Modules whose children import each other in one direction.
const ORDERED: &[&str] = &[
    "cache",
    "changes",
    "cli",
    "dispatch",
    "dispatch::batch",
    "draft",
    "nodes",
    "resolver",
    "store",
];

/// Who does not know of whom, within a room.
const APART: &[(&str, &str)] = &[("changes::watch", "changes::feed")];

#[test]
fn every_room_imports_only_from_floors_below() {
    assert_none("imports", &not_down(&product().0, FLOORS));
}

#[test]
fn every_room_stands_on_one_floor() {
    let (_, tree) = product();
    let rooms: BTreeSet<_> = tree.modules.keys().filter_map(room).collect();
    assert_none("rooms", &misplaced(&rooms, FLOORS));
}

#[test]
fn the_files_of_a_room_import_each_other_in_one_direction() {
    let (imports, _) = product();
    let lines: Vec<_> = ORDERED.iter().flat_map(|room| circles(&imports, &place(room))).collect();
    assert_none("circles", &lines);
}

#[test]
fn what_stands_apart_within_a_room_does_not_meet() {
    let (imports, tree) = product();
    let missing = APART.iter().flat_map(|(from, to)| [from, to]).chain(ORDERED);
    let missing = missing.filter(|module| !tree.modules.contains_key(&place(module)));
    let mut lines: Vec<_> =
        missing.map(|module| format!("{module} is named and stands nowhere")).collect();
    lines.extend(APART.iter().flat_map(|(from, to)| forbidden(&imports, &place(from), &place(to))));
    assert_none("imports", &lines);
}

/// The product's imports and modules. Fails where something cannot be followed.
fn product() -> (Vec<Import>, Tree) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = files_of(root, "src").expect("the source can be read");
    files.append(&mut files_of(root, "program/src").expect("so can the program's"));
    let mut tree = Tree::default();
    tree.read(&files, LIBRARY, "src/lib.rs");
    tree.read(&files, PROGRAM, "program/src/main.rs");
    let (imports, refused) = imports(&tree);
    assert_none("paths", &refused);
    (imports, tree)
}

/// `a::b` of the library.
fn place(path: &str) -> Place {
    let name = if path == "cli" { PROGRAM } else { LIBRARY };
    [name].into_iter().chain(path.split("::")).map(Into::into).collect()
}

fn assert_none(what: &str, lines: &[String]) {
    assert!(
        lines.is_empty(),
        "{} {what} are not as they should be:\n{}",
        lines.len(),
        lines.join("\n")
    );
}
