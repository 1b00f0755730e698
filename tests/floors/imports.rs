//! Which module a path leads to, and so which module imports which.
//!
//! A path that goes through a re-export counts as an import of the module that re-exports, and of
//! the one that has the item. The library's root is no room: what goes through it counts for where
//! it leads, and what leads nowhere from there is refused, so that nothing is missed unnoticed.

use std::collections::BTreeSet;

use crate::source::{LIBRARY, Mention, PROGRAM, Place, Tree};

/// A path in one module that leads to another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) written: String,
    pub(crate) from: Place,
    pub(crate) to: Place,
}

impl Import {
    /// Where it stands, and what stands there.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}: `{}`", self.file, self.line, self.written)
    }
}

/// The room of a module: the uppermost one that it is part of. None for the library's root.
pub(crate) fn room(place: &Place) -> Option<&str> {
    match place.as_slice() {
        [_, room, ..] => Some(room),
        [name] if name == PROGRAM => Some(name),
        _ => None,
    }
}

/// All imports, and what was refused.
pub(crate) fn imports(tree: &Tree) -> (Vec<Import>, Vec<String>) {
    let (mut imports, mut refused) = (BTreeSet::new(), tree.refused.clone());
    // The library's root is the table of contents, and imports nothing.
    for (from, module) in tree.modules.iter().filter(|(place, _)| room(place).is_some()) {
        for mention in &module.mentions {
            let (file, line) = (module.file.clone(), mention.line);
            let written = written(mention);
            match tree.leads_to(from, mention) {
                Ok(places) => imports.extend(places.into_iter().map(|to| {
                    let (file, written, from) = (file.clone(), written.clone(), from.clone());
                    Import { file, line, written, from, to }
                })),
                Err(why) => refused.push(format!("{file}:{line}: `{written}` {why}")),
            }
        }
    }
    (imports.into_iter().collect(), refused)
}

fn written(mention: &Mention) -> String {
    mention.segments.join("::") + if mention.is_glob { "::*" } else { "" }
}

/// What a path turned out to be.
enum Found {
    Module,
    /// Something that is no module, in the last one of the way.
    Item,
}

/// The modules that a path led through.
#[derive(Default)]
struct Seen {
    places: Vec<Place>,
    names: BTreeSet<(Place, String)>,
}

impl Seen {
    fn ends_in_root(&self) -> bool {
        self.places.last().is_some_and(|place| *place == [LIBRARY])
    }
}

impl Tree {
    /// Whether it begins with something that a `use` has brought in, and that counts already:
    /// `Change::All`. A module that it has brought in may lead further.
    fn repeats_a_use(&self, from: &Place, mention: &Mention) -> bool {
        let module = &self.modules[from];
        let first = &mention.segments[0];
        let brought_in = module.names.get(first).filter(|_| !module.children.contains(first));
        brought_in.is_some_and(|path| {
            mention.segments != *path
                && !matches!(self.find(from, path, &mut Seen::default()), Some(Found::Module))
        })
    }

    /// The modules of rooms that a path leads to or through, other than the one that it is in.
    fn leads_to(&self, from: &Place, mention: &Mention) -> Result<Vec<Place>, &'static str> {
        if self.repeats_a_use(from, mention) {
            return Ok(Vec::new());
        }
        let mut seen = Seen::default();
        match self.find(from, &mention.segments, &mut seen) {
            Some(Found::Item) if seen.ends_in_root() => {
                Err("is nothing that src/lib.rs shows by this name")
            }
            Some(Found::Module) if seen.ends_in_root() && mention.is_glob => {
                Err("takes all that there is: name what is used")
            }
            Some(_) => {
                let is_import = |to: &Place| to != from && room(to).is_some();
                Ok(seen.places.into_iter().filter(is_import).collect())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Follows a path. `None`: it is of another crate, or of something that is no module.
    fn find(&self, from: &Place, segments: &[String], seen: &mut Seen) -> Option<Found> {
        let (mut at, mut rest) = self.start(from, segments)?;
        while let [name, more @ ..] = rest {
            let module = &self.modules[&at];
            if module.children.contains(name) {
                at.push(name.clone());
                rest = more;
                continue;
            }
            seen.places.push(at.clone());
            let named =
                module.names.get(name).filter(|_| seen.names.insert((at.clone(), name.clone())));
            match named.and_then(|path| self.find(&at, path, seen)) {
                Some(Found::Module) => {
                    at = seen.places.pop().expect("a module that was found is noted");
                }
                Some(Found::Item) | None => return Some(Found::Item),
            }
            rest = more;
        }
        seen.places.push(at);
        Some(Found::Module)
    }

    /// The module that a path starts from, and the rest of the path.
    fn start<'s>(&self, from: &Place, segments: &'s [String]) -> Option<(Place, &'s [String])> {
        let [first, rest @ ..] = segments else { return None };
        match first.as_str() {
            "crate" => Some((from[..1].to_vec(), rest)),
            "self" => Some((from.clone(), rest)),
            "super" => {
                let parent = from[..from.len() - 1].to_vec();
                if parent.is_empty() {
                    return None;
                }
                match rest.first().map(String::as_str) {
                    Some("super") => self.start(&parent, rest),
                    _ => Some((parent, rest)),
                }
            }
            LIBRARY => Some((vec![LIBRARY.into()], rest)),
            name => {
                let here = &self.modules[from];
                let is_known = here.children.contains(name) || here.names.contains_key(name);
                is_known.then(|| (from.clone(), segments))
            }
        }
    }
}
