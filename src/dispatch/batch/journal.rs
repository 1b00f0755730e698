//! The journal of a batch: what was about to be dialled, and what became of it, on disk before the
//! next step is taken. Whoever resumes a batch that was killed reads it, and dials nobody twice.
//!
//! One JSON object a line, only ever appended:
//!
//! ```text
//! {"batch":"5f0c2a91","version":2}                              begun
//! {"line":2,"digest":"…","room":"call-…","config":"…","to":"+…"} about to be dialled
//! {"line":2,"digest":"…","undone":true}                         known not to have been dialled
//! {"line":2,"digest":"…","result":{…}}                          done
//! ```
//!
//! Version 1 counted lines otherwise. A batch that it began is gone on with by its counting.
//!
//! **Invariant:** an entry is dialled only after its line is on the disk. Lines that come together
//! are synced together.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use super::BatchError;
use super::record::{ConfigIdText, EntryKey, Header, JournalRecord, Version};
use crate::number::{ConfigId, E164};

/// What a journal says of the entries of earlier runs, by line.
pub(super) type EarlierEntries = HashMap<u64, EarlierEntry>;

/// What became of an entry in an earlier run.
#[derive(Debug, Clone)]
pub(super) struct EarlierEntry {
    pub(super) digest: u64,
    pub(super) state: JournalState,
    /// Who may have been called by it. Version 1 did not note that.
    pub(super) to: Option<E164>,
}

/// How far an entry came.
#[derive(Debug, Clone)]
pub(super) enum JournalState {
    /// It was about to be dialled.
    AboutToDial(Begun),
    /// It was about to be dialled, and was not.
    Undone(Begun),
    /// It is done; this line of the journal has its result.
    Done(Span),
}

/// Where an entry was about to be dialled.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) room: String,
    /// The config; the environment, if none.
    pub(super) config: Option<ConfigId>,
    /// Whether the engine was to dial.
    pub(super) engine: bool,
}

/// Where a line stands in the journal, so that results need not be held in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    at: u64,
    length: usize,
}

/// An open journal, locked for this process.
pub struct Journal {
    /// The batch's own name, in front of its jobs.
    pub(super) batch: String,
    /// How it tells entries apart.
    pub(super) version: Version,
    pub(super) known: EarlierEntries,
    file: File,
}

impl Journal {
    /// Begins a journal. One that tells of no entry is begun anew: nobody was about to be called.
    ///
    /// # Errors
    ///
    /// [`BatchError::JournalThere`] if there is one already: what it holds must not be lost.
    pub fn begin(path: &Path) -> Result<Self, BatchError> {
        let mut new = OpenOptions::new();
        new.create_new(true).read(true).append(true);
        // It holds whole numbers.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
        let file = match new.open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return match Self::resume(path) {
                    Ok(bare) if bare.known.is_empty() && bare.version == VERSION => Ok(bare),
                    Ok(_) | Err(BatchError::JournalMalformed { .. }) => {
                        Err(BatchError::JournalThere)
                    }
                    Err(error) => Err(error),
                };
            }
            file => file.map_err(BatchError::Journal)?,
        };
        lock(&file)?;
        let batch = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let header = Header { batch: batch.clone(), version: VERSION };
        let line =
            serde_json::to_string(&header).map_err(io::Error::from).map_err(BatchError::Journal)?;
        io::Write::write_all(&mut &file, format!("{line}\n").as_bytes())
            .map_err(BatchError::Journal)?;
        file.sync_all().map_err(BatchError::Journal)?;
        // Its name as well, or a journal may be gone after the power was.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder =
            File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        folder.map_err(BatchError::Journal)?;
        Ok(Self { batch, version: VERSION, known: EarlierEntries::new(), file })
    }

    /// Opens the journal of a batch that was not finished.
    ///
    /// # Errors
    ///
    /// [`BatchError::NoJournal`] if there is none, [`BatchError::JournalMalformed`] if it is
    /// something else, [`BatchError::Running`] if another process is at it.
    pub fn resume(path: &Path) -> Result<Self, BatchError> {
        let file = match OpenOptions::new().read(true).append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BatchError::NoJournal);
            }
            file => file.map_err(BatchError::Journal)?,
        };
        lock(&file)?;
        let (batch, version, known, whole) = read(&file)?;
        // What was not written whole was not acted upon either.
        file.set_len(whole).map_err(BatchError::Journal)?;
        Ok(Self { batch, version, known, file })
    }

    /// Reads a journal that somebody may be writing, as far as it is written.
    ///
    /// # Errors
    ///
    /// As of [`resume`](Self::resume), but that somebody is at it.
    #[cfg(feature = "server")]
    pub(crate) fn look(path: &Path) -> Result<LookedAt, BatchError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BatchError::NoJournal);
            }
            file => file.map_err(BatchError::Journal)?,
        };
        let (_, version, known, _) = read(&file)?;
        Ok(LookedAt { version, known, results: Results(file) })
    }

    /// What to write with, and what writes, to be run beside the batch until all writers are gone.
    pub(super) fn writer(file: File) -> (JournalWriter, impl Future<Output = ()>) {
        let (send, receive) = mpsc::channel(1024);
        (JournalWriter(send), write(tokio::fs::File::from_std(file), receive))
    }

    /// Takes it apart.
    pub(super) fn take(self) -> io::Result<Parts> {
        let Self { batch, version, known, file } = self;
        Ok(Parts { batch, version, known, results: Results(file.try_clone()?), file })
    }
}

/// A journal that is only looked at.
#[cfg(feature = "server")]
pub(crate) struct LookedAt {
    pub(super) version: Version,
    pub(super) known: EarlierEntries,
    pub(super) results: Results,
}

/// What a journal is made of.
pub(super) struct Parts {
    pub(super) batch: String,
    pub(super) version: Version,
    pub(super) known: EarlierEntries,
    /// What earlier results are read from.
    pub(super) results: Results,
    /// What is written to.
    pub(super) file: File,
}

/// The results of earlier runs, read one at a time.
pub(super) struct Results(File);

impl Results {
    pub(super) fn read(&self, Span { at, length }: Span) -> io::Result<Value> {
        let mut line = vec![0; length];
        self.0.read_exact_at(&mut line, at)?;
        let record: JournalRecord = serde_json::from_slice(&line)?;
        Ok(record.result.unwrap_or_default())
    }
}

/// What a journal says: the batch, how it counts, its entries, and how many bytes are whole lines.
fn read(file: &File) -> Result<(String, Version, EarlierEntries, u64), BatchError> {
    let mut lines = Lines { from: BufReader::new(file), whole: 0 };
    let malformed = |line| BatchError::JournalMalformed { line };
    let first = lines.next()?.ok_or(malformed(1))?;
    let Header { batch, version } = serde_json::from_slice(&first).map_err(|_| malformed(1))?;
    let mut known = EarlierEntries::new();
    let mut at = 1;
    while let Some(line) = lines.next()? {
        at += 1;
        let record: JournalRecord = serde_json::from_slice(&line).map_err(|_| malformed(at))?;
        let before = known.remove(&record.line);
        let earlier = before.as_ref().and_then(|seen| seen.to);
        let (state, to) = match record {
            // Version 1 took them for done. They were never dialled, and may be right by now.
            JournalRecord { result: Some(result), .. } if result["outcome"] == "invalid" => {
                continue;
            }
            JournalRecord { result: Some(_), .. } => {
                let length = line.len();
                (JournalState::Done(Span { at: lines.whole - length as u64, length }), earlier)
            }
            JournalRecord { undone: true, .. } => match before.map(|seen| seen.state) {
                Some(JournalState::AboutToDial(begun) | JournalState::Undone(begun)) => {
                    (JournalState::Undone(begun), None)
                }
                _ => return Err(malformed(at)),
            },
            JournalRecord { room: Some(room), config, to, engine, .. } => {
                let config = config.map(|id| ConfigId(id.0));
                (JournalState::AboutToDial(Begun { room, config, engine }), to)
            }
            JournalRecord { .. } => return Err(malformed(at)),
        };
        known.insert(record.line, EarlierEntry { digest: record.digest, state, to });
    }
    Ok((batch, version, known, lines.whole))
}

/// The lines of a journal that were written whole. The last one may have been under way when the
/// power went.
struct Lines<'a> {
    from: BufReader<&'a File>,
    /// How many bytes they are.
    whole: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, BatchError> {
        let mut line = Vec::new();
        self.from.read_until(b'\n', &mut line).map_err(BatchError::Journal)?;
        let whole = line.ends_with(b"\n");
        self.whole += if whole { line.len() as u64 } else { 0 };
        Ok(whole.then_some(line))
    }
}

fn lock(file: &File) -> Result<(), BatchError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => BatchError::Running,
        TryLockError::Error(error) => BatchError::Journal(error),
    })
}

/// Writes lines to a journal.
#[derive(Clone)]
pub(super) struct JournalWriter(mpsc::Sender<Line>);

struct Line {
    text: String,
    written: oneshot::Sender<io::Result<()>>,
}

impl JournalWriter {
    /// Notes that an entry is about to be dialled; returns when that is on the disk.
    pub(super) async fn about_to_dial(
        &self,
        entry: EntryKey,
        room: &str,
        config: Option<ConfigId>,
        to: E164,
        engine: bool,
    ) -> io::Result<()> {
        let config = config.map(|id| ConfigIdText(id.0));
        let (room, to) = (Some(room.to_owned()), Some(to));
        self.write(&JournalRecord { room, config, to, engine, ..JournalRecord::of(entry) }).await
    }

    /// Notes that an entry was not dialled after all.
    pub(super) async fn undone(&self, entry: EntryKey) -> io::Result<()> {
        self.write(&JournalRecord { undone: true, ..JournalRecord::of(entry) }).await
    }

    /// Notes what became of an entry.
    pub(super) async fn done(&self, entry: EntryKey, result: &Value) -> io::Result<()> {
        self.write(&JournalRecord { result: Some(json!(result)), ..JournalRecord::of(entry) }).await
    }

    async fn write(&self, record: &JournalRecord) -> io::Result<()> {
        let (written, on_disk) = oneshot::channel();
        let text = serde_json::to_string(record)? + "\n";
        let gone = || io::Error::other("the journal is closed");
        self.0.send(Line { text, written }).await.map_err(|_| gone())?;
        on_disk.await.map_err(|_| gone())?
    }
}

/// Writes what has come together, syncs once, and tells all who wait. After an error nothing more
/// is written: a journal with a hole in it would be worse than none.
async fn write(mut file: tokio::fs::File, mut lines: mpsc::Receiver<Line>) {
    let mut together = Vec::new();
    while lines.recv_many(&mut together, 1024).await > 0 {
        let text: String = together.iter().map(|line| line.text.as_str()).collect();
        let done = async {
            file.write_all(text.as_bytes()).await?;
            file.flush().await?;
            file.sync_data().await
        };
        let failed = done.await.err();
        for line in together.drain(..) {
            let outcome = failed
                .as_ref()
                .map_or(Ok(()), |error| Err(io::Error::new(error.kind(), error.to_string())));
            // Whoever waited may have been cancelled.
            let _ = line.written.send(outcome);
        }
        if failed.is_some() {
            return;
        }
    }
}

const VERSION: Version = Version::Second;
