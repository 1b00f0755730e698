//! What may import what: rooms stand on floors, and the files of a room have an order as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::{Import, room};
use crate::source::Place;

/// A line for each import that does not go down. Rooms without a floor are left to [`misplaced`].
pub(crate) fn not_down(imports: &[Import], floors: &[&[&str]]) -> Vec<String> {
    let floor = |room: &str| floors.iter().position(|rooms| rooms.contains(&room));
    let mut lines = Vec::new();
    for import in imports {
        let (Some(from), Some(to)) = (room(&import.from), room(&import.to)) else { continue };
        let (Some(above), Some(below)) = (floor(from), floor(to)) else { continue };
        if from == to || below < above {
            continue;
        }
        lines.push(format!(
            "{} goes from `{from}` (floor {above}) {} to `{to}` (floor {below}): move what is \
             imported to a floor below both, or hand it in from above",
            import.shown(),
            if below == above { "sideways" } else { "up" },
        ));
    }
    lines
}

/// A line for each room without a floor, floor without a room, and room on two floors.
pub(crate) fn misplaced(rooms: &BTreeSet<&str>, floors: &[&[&str]]) -> Vec<String> {
    let mut named = BTreeMap::<&str, usize>::new();
    for room in floors.iter().copied().flatten() {
        *named.entry(room).or_default() += 1;
    }
    let unnamed = rooms.iter().filter(|room| !named.contains_key(*room));
    let empty = named.keys().filter(|room| !rooms.contains(*room));
    let doubled = named.iter().filter(|(_, times)| **times > 1);
    unnamed
        .map(|room| format!("`{room}` stands on no floor: put it above all that it imports"))
        .chain(empty.map(|room| format!("`{room}` stands on a floor and not in src/")))
        .chain(doubled.map(|(room, _)| format!("`{room}` stands on two floors")))
        .collect()
}

/// The children of a module among themselves: which imports which, with one import as proof.
fn among_children<'a>(
    imports: &'a [Import],
    parent: &Place,
) -> BTreeMap<&'a str, BTreeMap<&'a str, &'a Import>> {
    let child = |place: &'a Place| {
        place.starts_with(parent).then(|| place.get(parent.len())).flatten().map(String::as_str)
    };
    let mut edges = BTreeMap::<_, BTreeMap<_, _>>::new();
    for import in imports {
        if let (Some(from), Some(to)) = (child(&import.from), child(&import.to))
            && from != to
        {
            edges.entry(from).or_default().entry(to).or_insert(import);
        }
    }
    edges
}

/// The shortest circle that each child of a module is part of, each circle once, import by import.
pub(crate) fn circles(imports: &[Import], parent: &Place) -> Vec<String> {
    let edges = among_children(imports, parent);
    let mut circles = BTreeMap::new();
    for start in edges.keys() {
        if let Some(way) = way_back(&edges, start) {
            let mut files: Vec<_> = way.iter().map(|import| import.file.as_str()).collect();
            files.sort_unstable();
            let shown: Vec<_> = way.iter().map(|import| import.shown()).collect();
            circles.entry(files.join(" ")).or_insert_with(|| {
                format!("a circle within {}: {}", parent.join("::"), shown.join(", then "))
            });
        }
    }
    circles.into_values().collect()
}

fn way_back<'a>(
    edges: &BTreeMap<&'a str, BTreeMap<&'a str, &'a Import>>,
    start: &'a str,
) -> Option<Vec<&'a Import>> {
    let mut queue = VecDeque::from([(start, Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((at, way)) = queue.pop_front() {
        for (&next, &import) in edges.get(at).into_iter().flatten() {
            let way = [way.as_slice(), &[import]].concat();
            if next == start {
                return Some(way);
            }
            if seen.insert(next) {
                queue.push_back((next, way));
            }
        }
    }
    None
}

/// A line for each import from one module to another that it must do without.
pub(crate) fn forbidden(imports: &[Import], from: &Place, to: &Place) -> Vec<String> {
    imports
        .iter()
        .filter(|import| import.from.starts_with(from) && import.to.starts_with(to))
        .map(|import| {
            format!("{} makes {} know of {}", import.shown(), from.join("::"), to.join("::"))
        })
        .collect()
}
