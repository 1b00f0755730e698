//! The values of the variables, as text, and where each was found.
//!
//! A `.env` file is read beside the process environment and never put into it; where both name a
//! variable, the process environment wins. Each file is read once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::dot_env::{DotEnv, Pair};
use super::env::{VARIABLES, process};
use super::file::{self, Doubt, FileStamp};
use super::names::{is_ours, meant};
use super::{Problem, Warning};

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// In the process environment.
    Environment,
    /// In this `.env` file.
    DotEnv(PathBuf),
    /// In the file that `NAME_FILE` names.
    File(PathBuf),
    /// The program chose it, for want of a setting.
    Program,
    /// Nowhere: the default holds.
    Default,
}

/// The values of the variables, as text, and where each was found. Wiped when dropped.
#[derive(Default)]
pub struct Values {
    found: BTreeMap<String, FoundValue>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    files: Vec<PathBuf>,
    stamps: Vec<Option<FileStamp>>,
    /// Where systemd hands credentials over.
    credentials: Option<PathBuf>,
}

struct FoundValue {
    value: Zeroizing<String>,
    origin: ValueOrigin,
    /// Of the `.env` file, from 1.
    line: Option<usize>,
}

impl Values {
    /// Reads the process environment and, beside it, a `.env` file. A file that is not there is
    /// none; one that cannot be read is a problem.
    #[must_use]
    pub fn of_process(dot_env: Option<&Path>) -> Self {
        Self::over(&[], process(), dot_env)
    }

    /// Reads these pairs in place of the process environment.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>, dot_env: Option<&Path>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::over(&[], pairs, dot_env)
    }

    /// Reads the process environment and a `.env` file, and these where neither has them.
    pub(super) fn of_process_over(defaults: &[(String, String)], dot_env: Option<&Path>) -> Self {
        Self::over(defaults, process(), dot_env)
    }

    fn over(
        defaults: &[(String, String)],
        pairs: impl IntoIterator<Item = (OsString, OsString)>,
        dot_env: Option<&Path>,
    ) -> Self {
        let mut values = Self::default();
        for (name, value) in defaults {
            values.insert(name.clone(), value.clone(), ValueOrigin::Program);
        }
        let process = values.text_of(pairs);
        let set = |name: &str| process.iter().find(|(other, _)| name == other);
        values.credentials = set(CREDENTIALS).map(|(_, folder)| PathBuf::from(folder));
        if let Some(path) = dot_env {
            values.read_dot_env(path, &process);
        }
        for (name, _) in &process {
            // Beside the one of ours, it is likely another program's.
            if let Some(meant) = meant(name).filter(|meant| set(meant.ours).is_none()) {
                values.warn(name, meant.to_string());
            }
        }
        for (name, value) in process {
            values.insert(name, value, ValueOrigin::Environment);
        }
        // An empty variable is one that is not set, as in every shell script.
        values.found.retain(|_, found| !found.value.is_empty());
        for variable in VARIABLES.iter().filter(|variable| variable.file) {
            values.read_file_of(variable.name);
        }
        values
    }

    /// A value, or the default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let default = || {
            let variable = VARIABLES.iter().find(|variable| variable.name == name);
            variable.map(|variable| variable.default).filter(|default| !default.is_empty())
        };
        self.found.get(name).map(|found| found.value.as_str()).or_else(default)
    }

    /// Where a value was found.
    #[must_use]
    pub fn origin(&self, name: &str) -> ValueOrigin {
        self.found.get(name).map_or(ValueOrigin::Default, |found| found.origin.clone())
    }

    /// Where a value stands, in words, if that is in a file.
    pub(super) fn place(&self, name: &str) -> Option<String> {
        let found = self.found.get(name)?;
        match (&found.origin, found.line) {
            (ValueOrigin::DotEnv(path), Some(line)) => Some(place(path, line)),
            (ValueOrigin::File(path), _) => Some(path.display().to_string()),
            _ => None,
        }
    }

    /// The files that were read or looked for; a change of one may change a value.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What those files were when they were read, in the same order.
    pub(crate) fn stamps(&self) -> &[Option<FileStamp>] {
        &self.stamps
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The pairs that are text. Values of ours that are not are named; others belong to others.
    fn text_of(
        &mut self,
        pairs: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Vec<(String, String)> {
        let mut text = Vec::new();
        for (name, value) in pairs {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => text.push((name, value)),
                Err(_) if is_ours(&name) => self.warn(&name, "is not UTF-8 text and not read"),
                Err(_) => {}
            }
        }
        text
    }

    fn read_dot_env(&mut self, path: &Path, process: &[(String, String)]) {
        let Some(text) = self.read(".env", path, DOT_ENV_MOST) else { return };
        let DotEnv { pairs, broken, doubtful } = DotEnv::parse(&text.whole);
        let at = |line| place(path, line);
        for remark in broken {
            let concerns = remark.name.filter(|name| is_ours(name) || meant(name).is_some());
            match concerns {
                Some(name) => {
                    self.problem(&name, format!("{} ({})", remark.message, at(remark.line)));
                }
                // A line of another program, which we are not asked to understand.
                None => self.warn(".env", format!("{} is not read, as it is", at(remark.line))),
            }
        }
        for remark in doubtful {
            if let Some(name) = remark.name.filter(|name| is_ours(name)) {
                self.warn(&name, format!("{} ({})", remark.message, at(remark.line)));
            }
        }
        for (index, pair) in pairs.iter().enumerate() {
            self.doubt_pair(path, pair, &pairs[..index], process);
        }
        for doubt in text.doubt {
            let secret = pairs.iter().any(|pair| is_secret(&pair.name) && !pair.value.is_empty());
            if secret || doubt != Doubt::Readable {
                self.warn(".env", rights(path, &doubt));
            }
        }
        for Pair { name, value, line, .. } in pairs {
            let origin = ValueOrigin::DotEnv(path.to_owned());
            self.found.insert(name, FoundValue { value, origin, line: Some(line) });
        }
    }

    /// What may be meant otherwise by a line that could be read.
    fn doubt_pair(
        &mut self,
        path: &Path,
        pair: &Pair,
        before: &[Pair],
        process: &[(String, String)],
    ) {
        let Pair { name, value, line, dollars } = pair;
        let at = place(path, *line);
        if let Some(meant) = meant(name) {
            return self.warn(name, format!("{meant} ({at})"));
        }
        let taken = value.lines().skip(1).filter_map(|line| line.split_once('='));
        for (taken, _) in taken.filter(|(taken, _)| is_ours(taken.trim())) {
            let message = format!("is part of the value of {name}, whose quote is open ({at})");
            self.warn(taken.trim(), message);
        }
        if !is_ours(name) {
            return;
        }
        if before.iter().any(|earlier| earlier.name == *name) {
            self.warn(name, format!("is set again, and this line counts ({at})"));
        }
        let set = |dollar: &&String| {
            let in_process = process.iter().any(|(name, _)| *name == **dollar);
            in_process || before.iter().any(|earlier| earlier.name == **dollar)
        };
        if dollars.iter().any(|dollar| set(&dollar)) {
            let message = "holds a $ with the name of a variable, which is text here; put it in \
                           single quotes to say so, or write the value itself";
            self.warn(name, format!("{message} ({at})"));
        }
    }

    fn read_file_of(&mut self, name: &'static str) {
        let Some(found) = self.found.remove(&format!("{name}_FILE")) else { return };
        let path = PathBuf::from(found.value.as_str());
        if self.found.contains_key(name) {
            self.files.push(path);
            self.stamps.push(None);
            return self.problem(name, format!("{name} and {name}_FILE are both set; keep one"));
        }
        let before = self.problems.len();
        let Some(text) = self.read(name, &path, FILE_MOST) else {
            if self.problems.len() == before {
                self.problem(name, format!("{} is not there", path.display()));
            }
            return;
        };
        for doubt in &text.doubt {
            self.warn(name, rights(&path, doubt));
        }
        let value = text.whole.trim_end_matches(['\r', '\n']);
        // Without its key or its database a program would go on as another one: that is refused
        // where the value is read.
        if value.trim().is_empty() && name == "LIVEKIT_API_SECRET" {
            let message = format!("{} is empty, which counts as not set", path.display());
            return self.warn(name, message);
        }
        self.insert(name.to_owned(), value.to_owned(), ValueOrigin::File(path));
    }

    /// Reads a file and remembers what it was; a problem is kept under this name.
    fn read(&mut self, name: &str, path: &Path, most: usize) -> Option<file::FileText> {
        let read = file::read(path, most, self.credentials.as_deref());
        self.files.push(path.to_owned());
        self.stamps.push(match &read {
            Ok(text) => text.as_ref().map(|text| text.stamp.clone()),
            Err(_) => FileStamp::now(path),
        });
        read.unwrap_or_else(|message| {
            self.problem(name, message);
            None
        })
    }

    fn insert(&mut self, name: String, value: String, origin: ValueOrigin) {
        self.found.insert(name, FoundValue { value: Zeroizing::new(value), origin, line: None });
    }

    fn problem(&mut self, variable: &str, message: String) {
        self.problems.push(Problem { variable: variable.to_owned(), message, key: None });
    }

    fn warn(&mut self, variable: &str, message: impl Into<String>) {
        self.warnings.push(Warning::new(variable, message));
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Values").field("files", &self.files).finish_non_exhaustive()
    }
}

fn place(path: &Path, line: usize) -> String {
    format!("line {line} of {}", path.display())
}

fn rights(path: &Path, doubt: &Doubt) -> String {
    let path = path.display();
    match doubt {
        Doubt::Readable => format!("{path} may be read by everybody: run `chmod o-r {path}`"),
        Doubt::Foreign(user) => {
            format!("{path} belongs to user {user}, who may change it: it must be yours or root's")
        }
    }
}

fn is_secret(name: &str) -> bool {
    name == "PGPASSWORD"
        || VARIABLES.iter().any(|variable| variable.secret && variable.name == name)
}

const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The largest `.env` file, in bytes.
const DOT_ENV_MOST: usize = 1 << 20;
/// The largest file that holds one value, in bytes.
const FILE_MOST: usize = 64 << 10;
