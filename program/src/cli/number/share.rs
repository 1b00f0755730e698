//! `number assign`: a config for one number, or for a share of them, and the way back.
//!
//! Which numbers are in a share is decided by the hash of the rollout, so a share that grows goes on
//! where the last one ended. What each number had before is in the journal, on the disk, before it is
//! changed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline::rollout::{Rollout, RolloutEdit, Share, Side, Stage, Unit};
use trunkline::store::{AdminStore, Number};
use trunkline::{Caller, ConfigId, E164, Rules, TenantId};

use super::super::failure::{Done, Exit, Failure};
use super::super::output::{json_line, line};
use super::super::{Context, livekit};
use super::changed;

#[derive(Args)]
pub(crate) struct Assign {
    /// The tenant; with --percent, its numbers alone
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// The number, such as +971501234567
    #[arg(
        long,
        requires = "tenant",
        required_unless_present = "percent",
        conflicts_with = "percent"
    )]
    number: Option<String>,
    /// The config, by id or name
    #[arg(long, value_name = "CONFIG")]
    livekit: String,
    /// A share of the numbers, the same ones each time, such as 10 or 0.125
    #[arg(long, value_name = "SHARE", requires = "journal")]
    percent: Option<Share>,
    /// Leave numbers alone that have a config
    #[arg(long, requires = "percent")]
    where_unassigned: bool,
    /// Where to write what each number had before; one that is there is gone on with
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Change nothing, and say how many would be changed
    #[arg(long, requires = "percent")]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Undo {
    /// The journal of `number assign --percent`
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Change nothing, and say how many would be changed
    #[arg(long)]
    dry_run: bool,
}

/// A line of the journal: a number that was about to be changed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tenant: TenantId,
    number: E164,
    before: Option<ConfigId>,
    after: ConfigId,
}

impl Assign {
    pub(super) async fn run(self, context: &Context) -> Done {
        let store = context.store()?;
        let config = livekit::find(&*store, &self.livekit).await?.id;
        match (&self.number, &self.tenant, self.percent, &self.journal) {
            (Some(number), Some(tenant), ..) => {
                let caller = Caller::parse(tenant, number)?;
                changed(context, caller, store.assign(caller, Some(config)).await?, "assigned")
            }
            (_, tenant, Some(share), Some(journal)) => {
                let tenant = tenant.as_deref().map(str::parse).transpose();
                let tenant = tenant.map_err(|error: trunkline::IdError| {
                    Failure::usage("tenant_malformed", error.to_string())
                })?;
                let numbers = store.numbers(tenant).await?;
                let entries = self.entries(&numbers, share, config);
                if self.dry_run {
                    return told(context, "would_assign", entries.len(), numbers.len());
                }
                let mut journal = Journal::open(journal)?;
                for chunk in entries.chunks(AT_ONCE) {
                    journal.note(chunk)?;
                    for entry in chunk {
                        store.assign(entry.caller(), Some(entry.after)).await?;
                    }
                }
                told(context, "assigned", entries.len(), numbers.len())
            }
            _ => unreachable!("the arguments ask for a number, or for a share with its journal"),
        }
    }

    /// What is to be changed: numbers of the share that do not have the config yet.
    fn entries(&self, numbers: &[Number], share: Share, after: ConfigId) -> Vec<Entry> {
        let edit = RolloutEdit {
            stage: Some(Stage::Percent),
            percent: Some(share),
            ..RolloutEdit::default()
        };
        let share = Rollout::default().begun_anew(Unit::Number, SALT).with(&edit, SALT);
        let share = share.expect("it has no lists");
        let entry = |number: &Number| {
            let caller = Caller::new(number.tenant, E164::from_digits(&number.digits).ok()?);
            let before = Rules::read(None, &number.rules).config;
            let is_wanted = before != Some(after) && !(self.where_unassigned && before.is_some());
            (is_wanted && share.side(caller) == Side::Inside).then_some(Entry {
                tenant: caller.tenant,
                number: caller.number,
                before,
                after,
            })
        };
        numbers.iter().filter_map(entry).collect()
    }
}

impl Undo {
    pub(super) async fn run(self, context: &Context) -> Done {
        let entries = Journal::read(&self.journal)?;
        let store = context.store()?;
        let (mut done, of) = (0, entries.len());
        // The last ones first: a number that is there twice gets what it had in the beginning.
        for entry in entries.into_iter().rev() {
            // Whoever has changed it since then wanted it so.
            if config_of(&*store, entry.caller()).await? != Some(Some(entry.after)) {
                continue;
            }
            done += 1;
            if !self.dry_run {
                store.assign(entry.caller(), entry.before).await?;
            }
        }
        told(context, if self.dry_run { "would_undo" } else { "undone" }, done, of)
    }
}

/// The config of a number, if there is such a number.
async fn config_of(
    store: &dyn AdminStore,
    caller: Caller,
) -> Result<Option<Option<ConfigId>>, Failure> {
    let number = store.number(caller).await?;
    Ok(number.map(|number| Rules::read(None, &number.rules).config))
}

impl Entry {
    fn caller(&self) -> Caller {
        Caller::new(self.tenant, self.number)
    }
}

/// The file that says what numbers had before.
struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// A new one, for its owner alone, or the one that is there.
    fn open(path: &Path) -> Result<Self, Failure> {
        if path.exists() {
            Self::read(path)?;
            Self::cut(path).map_err(|error| unusable(path, &error))?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| unusable(path, &error))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes what is about to be changed, and waits for the disk.
    fn note(&mut self, entries: &[Entry]) -> Done {
        let mut lines = Vec::new();
        for entry in entries {
            lines.extend(json!(entry).to_string().into_bytes());
            lines.push(b'\n');
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        written.map_err(|error| unusable(&self.path, &error))
    }

    /// Takes away what a process that ended began to write.
    fn cut(path: &Path) -> std::io::Result<()> {
        let text = std::fs::read(path)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)
    }

    /// Its lines. One that was cut short by the end of a process was about nothing that was changed.
    fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
        let file = File::open(path).map_err(|error| unusable(path, &error))?;
        let lines: Vec<_> = BufReader::new(file)
            .lines()
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(path, &error))?;
        let last = lines.len();
        let mut entries = Vec::with_capacity(last);
        for (at, line) in lines.iter().enumerate() {
            match serde_json::from_str(line) {
                Ok(entry) => entries.push(entry),
                Err(_) if at + 1 == last => {}
                Err(_) => {
                    let message =
                        format!("{}, line {}: no line of such a journal", path.display(), at + 1);
                    return Err(Failure::new("journal_malformed", message, Exit::Failed)
                        .hint("name the file that `number assign --percent --journal` wrote, or a new one"));
                }
            }
        }
        Ok(entries)
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("journal_failed", format!("{}: {error}", path.display()), Exit::Failed)
}

fn told(context: &Context, what: &str, done: usize, of: usize) -> Done {
    if context.json {
        return json_line(&json!({what: done, "of": of}));
    }
    line(format!("{} {done} of {of} numbers", what.replace('_', " ")))
}

/// So that the share is another one than that of a rollout.
const SALT: &str = "number assign";
/// How many numbers are changed between two waits for the disk.
const AT_ONCE: usize = 100;
