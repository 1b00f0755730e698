//! The product's source as a tree of modules, with every path that is written in one.
//!
//! Files are read as tokens and not as syntax, so that what stands in macros and attributes counts
//! like everything else. What is compiled for tests alone does not count, and documentation does not.
//! What would bring code in unseen (`#[path]`, `include!`, macros by the order of files) is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use proc_macro2::{Delimiter, Literal, Spacing, TokenStream, TokenTree};

/// Texts by the path of their file from the root of the repository, with `/`.
pub(crate) type Files = BTreeMap<String, String>;

/// A crate's name and the modules down to one: `["trunkline", "cache", "fence"]`.
pub(crate) type Place = Vec<String>;

/// The library, by which the program calls it as well.
pub(crate) const LIBRARY: &str = "trunkline";
/// The program.
pub(crate) const PROGRAM: &str = "main";

/// All modules, and what was refused.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) modules: BTreeMap<Place, Module>,
    pub(crate) refused: Vec<String>,
}

/// A module, with a file of its own or without.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) children: BTreeSet<String>,
    /// What `use` gives a name here, as it is written.
    pub(crate) names: BTreeMap<String, Vec<String>>,
    pub(crate) mentions: Vec<Mention>,
}

/// A path that is written somewhere.
pub(crate) struct Mention {
    pub(crate) segments: Vec<String>,
    /// Whether all is taken that lies there.
    pub(crate) is_glob: bool,
    pub(crate) line: usize,
}

/// Every file below `folder`, which lies at the root of the repository.
pub(crate) fn files_of(root: &Path, folder: &str) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files.append(&mut files_of(root, &path)?);
        } else {
            files.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(files)
}

impl Tree {
    /// Reads a crate from its root file on.
    pub(crate) fn read(&mut self, files: &Files, name: &str, file: &str) {
        self.read_file(files, vec![name.into()], file);
    }

    fn read_file(&mut self, files: &Files, place: Place, file: &str) {
        let module = Module { file: file.into(), ..Module::default() };
        self.modules.insert(place.clone(), module);
        match files.get(file).map(|text| text.parse::<TokenStream>()) {
            Some(Ok(tokens)) => Reader { files, tree: self, place }.walk(&listed(tokens)),
            Some(Err(error)) => self.refused.push(format!("{file}: {error}")),
            None => self.refused.push(format!("{file} is missing, and a `mod` names it")),
        }
    }
}

/// Reads the tokens of one module.
struct Reader<'a> {
    files: &'a Files,
    tree: &'a mut Tree,
    place: Place,
}

impl Reader<'_> {
    fn walk(&mut self, tokens: &[TokenTree]) {
        let mut rest = tokens;
        while let [first, after @ ..] = rest {
            rest = match first {
                TokenTree::Punct(mark) if mark.as_char() == '#' => match attribute(after) {
                    Some(found) if is_for_tests(&found.content) => {
                        if found.is_inner {
                            return;
                        }
                        past_item(found.after)
                    }
                    Some(found) => {
                        self.attribute(&found.content, found.line);
                        found.after
                    }
                    None => after,
                },
                TokenTree::Ident(word) if word == "use" && !starts(after, '<') => {
                    let end = after.iter().position(|token| is_mark(token, ';'));
                    let (tree, after) = after.split_at(end.unwrap_or(after.len()));
                    self.import(&[], tree);
                    after
                }
                TokenTree::Ident(word) if word == "mod" => self.module(after),
                TokenTree::Ident(word) => {
                    if word == "extern" && matches!(after, [next, ..] if is_word(next, "crate"))
                        || word == "include" && starts(after, '!')
                    {
                        self.refuse(word.span().start().line, &word.to_string());
                    }
                    self.path(rest)
                }
                TokenTree::Group(group) => {
                    self.walk(&listed(group.stream()));
                    after
                }
                // A path from the root of all crates, of which one is the product.
                TokenTree::Punct(_) => match past_colons(rest) {
                    Some(path) if path.first().is_some_and(|name| is_word(name, LIBRARY)) => path,
                    Some(path) => segments(path).1,
                    None => after,
                },
                TokenTree::Literal(_) => after,
            };
        }
    }

    /// What follows the word `mod`: a file, or a body.
    fn module<'t>(&mut self, rest: &'t [TokenTree]) -> &'t [TokenTree] {
        let [TokenTree::Ident(name), next, after @ ..] = rest else { return rest };
        let (name, mut place) = (name.to_string(), self.place.clone());
        place.push(name.clone());
        match next {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                let file = self.here().file.clone();
                self.tree.modules.insert(place.clone(), Module { file, ..Module::default() });
                Reader { files: self.files, tree: self.tree, place }.walk(&listed(body.stream()));
            }
            next if is_mark(next, ';') => {
                let root =
                    self.tree.modules[&place[..1]].file.rsplit_once('/').map_or("", |(dir, _)| dir);
                let file = format!("{root}/{}.rs", place[1..].join("/"));
                self.tree.read_file(self.files, place, &file);
            }
            _ => return rest,
        }
        self.here().children.insert(name);
        after
    }

    /// Notes the path that begins here, if it is one.
    fn path<'t>(&mut self, rest: &'t [TokenTree]) -> &'t [TokenTree] {
        let line = rest[0].span().start().line;
        let (segments, after) = segments(rest);
        if segments.len() > 1 {
            self.here().mentions.push(Mention { segments, is_glob: false, line });
        }
        after
    }

    /// One tree of a `use`: a path, a name for it, or a group of trees that go on from it.
    fn import(&mut self, before: &[String], tokens: &[TokenTree]) {
        let from_all_crates = past_colons(tokens);
        let tokens = from_all_crates.unwrap_or(tokens);
        let Some(first) = tokens.first() else { return };
        if from_all_crates.is_some() && !is_word(first, LIBRARY) {
            return;
        }
        let line = first.span().start().line;
        let (more, after) = segments(tokens);
        let mut segments = [before, &more].concat();
        if let [TokenTree::Group(group)] = past_colons(after).unwrap_or(after) {
            let trees = listed(group.stream());
            for tree in trees.split(|token| is_mark(token, ',')) {
                self.import(&segments, tree);
            }
            return;
        }
        if !before.is_empty() && more == ["self"] {
            segments.pop();
        }
        let is_glob = starts(past_colons(after).unwrap_or(after), '*');
        let name = match after {
            [keyword, name, ..] if is_word(keyword, "as") => Some(name.to_string()),
            _ => segments.last().cloned(),
        };
        let here = self.here();
        if let Some(name) = name.filter(|_| !is_glob) {
            here.names.insert(name, segments.clone());
        }
        here.mentions.push(Mention { segments, is_glob, line });
    }

    /// Paths in an attribute, among them those that are written as a text.
    fn attribute(&mut self, content: &[TokenTree], line: usize) {
        let Some(TokenTree::Ident(name)) = content.first() else { return };
        match name.to_string().as_str() {
            "doc" => {}
            name @ ("path" | "macro_use" | "macro_export") => self.refuse(line, name),
            _ => {
                self.walk(content);
                self.texts(content, line);
            }
        }
    }

    fn texts(&mut self, tokens: &[TokenTree], line: usize) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.texts(&listed(group.stream()), line),
                TokenTree::Literal(literal) => {
                    if let Some(segments) = path_in(literal) {
                        self.here().mentions.push(Mention { segments, is_glob: false, line });
                    }
                }
                _ => {}
            }
        }
    }

    fn refuse(&mut self, line: usize, what: &str) {
        let file = &self.here().file;
        let refused = format!("{file}:{line}: `{what}` brings in what this test does not see");
        self.tree.refused.push(refused);
    }

    fn here(&mut self) -> &mut Module {
        self.tree.modules.get_mut(&self.place).expect("a module is in the tree before it is read")
    }
}

struct Attribute<'t> {
    content: Vec<TokenTree>,
    /// Of all that it stands in, and not of what follows.
    is_inner: bool,
    line: usize,
    after: &'t [TokenTree],
}

/// The attribute whose `#` stands before these.
fn attribute(rest: &[TokenTree]) -> Option<Attribute<'_>> {
    let is_inner = starts(rest, '!');
    match &rest[usize::from(is_inner)..] {
        [TokenTree::Group(group), after @ ..] if group.delimiter() == Delimiter::Bracket => {
            let (content, line) = (listed(group.stream()), group.span().start().line);
            Some(Attribute { content, is_inner, line, after })
        }
        _ => None,
    }
}

/// Whether it is `#[cfg(…)]` of what is compiled for tests alone.
fn is_for_tests(attribute: &[TokenTree]) -> bool {
    matches!(attribute, [name, TokenTree::Group(asked)]
        if is_word(name, "cfg") && holds_in_tests_alone(&listed(asked.stream())))
}

fn holds_in_tests_alone(condition: &[TokenTree]) -> bool {
    match condition {
        [word] => is_word(word, "test"),
        [word, TokenTree::Group(group)] => {
            let inner = listed(group.stream());
            let mut parts =
                inner.split(|token| is_mark(token, ',')).filter(|part| !part.is_empty());
            match word.to_string().as_str() {
                "all" => parts.any(holds_in_tests_alone),
                "any" => parts.all(holds_in_tests_alone),
                _ => false,
            }
        }
        _ => false,
    }
}

/// What comes after the item, field or statement that begins here.
fn past_item(rest: &[TokenTree]) -> &[TokenTree] {
    const ITEMS: [&str; 13] = [
        "async",
        "const",
        "enum",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "static",
        "struct",
        "trait",
        "type",
        "unsafe",
        "use",
    ];
    let mut is_item = false;
    for (at, token) in rest.iter().enumerate() {
        is_item |= ITEMS.iter().any(|word| is_word(token, word));
        let is_body =
            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_body || is_mark(token, ';') || !is_item && is_mark(token, ',') {
            return &rest[at + 1..];
        }
    }
    &[]
}

/// Names with `::` between them, and what comes after. A name that a macro fills in is one.
fn segments(tokens: &[TokenTree]) -> (Vec<String>, &[TokenTree]) {
    let (mut segments, mut rest) = (Vec::new(), tokens);
    loop {
        match rest {
            [TokenTree::Ident(name), after @ ..] => {
                segments.push(name.to_string());
                rest = after;
            }
            [mark, TokenTree::Ident(name), after @ ..] if is_mark(mark, '$') => {
                // Not `$crate`, which begins a path and means what `crate` does.
                let filled_in = name != "crate";
                segments.push(if filled_in { format!("${name}") } else { name.to_string() });
                rest = after;
            }
            _ => return (segments, rest),
        }
        match past_colons(rest) {
            Some(after) if matches!(after, [TokenTree::Ident(_), ..]) || starts(after, '$') => {
                rest = after;
            }
            _ => return (segments, rest),
        }
    }
}

/// The path that this text is, if it is nothing else.
fn path_in(literal: &Literal) -> Option<Vec<String>> {
    let text = literal.to_string();
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    let tokens = listed(text.parse::<TokenStream>().ok()?);
    match segments(&tokens) {
        (segments, []) if segments.len() > 1 => Some(segments),
        _ => None,
    }
}

fn past_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [TokenTree::Punct(one), two, after @ ..]
            if one.as_char() == ':' && one.spacing() == Spacing::Joint && is_mark(two, ':') =>
        {
            Some(after)
        }
        _ => None,
    }
}

fn starts(tokens: &[TokenTree], mark: char) -> bool {
    tokens.first().is_some_and(|token| is_mark(token, mark))
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn listed(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}
