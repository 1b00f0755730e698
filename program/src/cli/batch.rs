//! `trunkline batch`: places the calls of a file.

mod failure;
mod progress;
mod rehearsed;
mod results;
mod stopping;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use trunkline::dispatch::batch::{
    Batch as Running, Column, Defaults, Entries, Journal, Limits, NoBatch, Separator, Summary,
};
use trunkline::server::Server;
use trunkline::{E164, TenantId};

use self::failure::conclude;
use self::progress::Progress;
use self::rehearsed::Read;
use self::results::Results;
use super::Context;
use super::call::{Dialling, time};
use super::failure::{Done, Failure};
use super::serve::{bind, exporter};

#[derive(Subcommand)]
pub(crate) enum Batch {
    /// Place the calls of a CSV or JSON-lines file: to, from, tenant, and fields of your own
    Run(Run),
}

#[derive(Args)]
pub(crate) struct Run {
    /// The file; its journal is kept beside it
    file: PathBuf,
    /// How many calls are placed at once on one server
    #[arg(long, value_name = "N", default_value_t = Limits::default().concurrency,
        value_parser = concurrency)]
    concurrency: usize,
    /// How many calls a second go over one trunk; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = Limits::default().calls_per_second,
        allow_negative_numbers = true, value_parser = calls_per_second)]
    cps: f64,
    /// How many calls of this run are up at the same time over one trunk; the server is asked
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    live: Option<u32>,
    /// Place no more calls after this time, such as 2h; calls that ring may finish
    #[arg(long, value_name = "TIME", value_parser = time)]
    stop_after: Option<Duration>,
    /// How often an entry is tried again if nothing was dialled for it
    #[arg(long, value_name = "N", default_value_t = Limits::default().retries)]
    retries: u32,
    /// Write the results to this file, not to stdout: for .csv the rows with their results, else JSON lines
    #[arg(long, value_name = "PATH")]
    results: Option<PathBuf>,
    /// Resume a run that was stopped; nobody is called twice
    #[arg(long)]
    resume: bool,
    /// The journal, if it is not FILE.journal
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// The tenant of entries without one
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// The caller number of entries without one
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// The separator of CSV: comma, semicolon, tab or one character; detected by default
    #[arg(long, value_name = "CHARACTER")]
    separator: Option<Separator>,
    /// A column with another name: to, from, tenant or job, such as `to=phone_number`
    #[arg(long = "column", value_name = "COLUMN=HEADING", value_parser = column)]
    columns: Vec<(Column, String)>,
    /// Call a person again for each entry that names them: the same number by the same caller
    #[arg(long)]
    allow_duplicates: bool,
    /// Print what would be done, and call nobody
    #[arg(long = "dry-run")]
    rehearse: bool,
    /// Begin even if a database, a key or credentials are missing that entries need
    #[arg(long)]
    yes: bool,
    /// Serve metrics and health there while it runs, as `trunkline serve` does
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    dialling: Dialling,
}

impl Batch {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let Self::Run(run) = self;
        Box::pin(run.run(context)).await
    }
}

impl Run {
    async fn run(self, context: &Context) -> Done {
        let (defaults, phone) = (self.defaults()?, self.dialling.phone()?);
        let open = || Entries::open(&self.file, defaults.clone());
        // A file that is no batch calls nobody and leaves no journal behind.
        let read = self.read_whole(open).map_err(|error| self.refusal(&error))?;
        self.spare_what_is_read()?;
        let with_rows = results::are_rows(self.results.as_deref());
        if with_rows {
            results::spare_columns(&read.columns)?;
        }
        let exporter = exporter()?;
        // Nothing has recorded to another one before.
        let _installed = self.listen.is_some() && exporter.install();
        let (dispatcher, database) = context.dispatcher(Some("trunkline batch"))?;
        let cancel = CancellationToken::new();
        let dial = self.dialling.dial();
        let end = CancellationToken::new();
        let batch = Running::new(&dispatcher, dial, self.limits(), cancel.clone())
            .confirming(self.dialling.confirm_agent)
            .dialling(phone)
            .ended_by(end.clone());
        let done = async {
            let Some(journal) = self.rehearsed(context, &batch, open, &read).await? else {
                return Ok(());
            };
            let server = match self.listen {
                Some(address) => {
                    let resolver = dispatcher.resolver().clone();
                    let server = Server::builder(resolver, exporter).database(database);
                    Some(bind(server.hosts(context.settings()?.http_hosts), address).await?)
                }
                None => None,
            };
            let results = self.results(context, &read)?;
            let columns: Arc<[String]> = read.columns.as_slice().into();
            let open = || {
                let entries = open()?;
                Ok(if with_rows { entries.keeping(Arc::clone(&columns)) } else { entries })
            };
            let running = (journal, results, server);
            let ends = (&cancel, &end);
            let summary = self.place(context, &batch, open, running, ends).await?;
            conclude(context, &summary)
        };
        let done = done.await;
        dispatcher.resolver().stop(Duration::from_secs(1)).await;
        done
    }

    /// Finds out what would be done, and whether it may be. Returns the journal to do it with; none,
    /// if only that was asked for.
    async fn rehearsed(
        &self,
        context: &Context,
        batch: &Running<'_>,
        open: impl Fn() -> Result<Entries, NoBatch>,
        read: &Read,
    ) -> Result<Option<Journal>, Failure> {
        let failed = |error| self.failure(&error);
        let path = self.journal();
        let earlier = self.resume.then(|| Journal::resume(&path)).transpose().map_err(failed)?;
        let entries = open().map_err(|error| self.refusal(&error))?;
        let rehearsal = batch.rehearse(entries, earlier.as_ref()).await.map_err(failed)?;
        if self.rehearse {
            self.show(context, read, &rehearsal)?;
            return Ok(None);
        }
        if !self.yes {
            self.ready(&rehearsal)?;
        }
        if !context.json {
            self.print(read, &rehearsal);
        }
        let journal = earlier.map_or_else(|| Journal::begin(&path), Ok);
        journal.map(Some).map_err(failed)
    }

    /// Places the calls, until they are done or it is told to end.
    async fn place(
        &self,
        context: &Context,
        batch: &Running<'_>,
        open: impl Fn() -> Result<Entries, NoBatch>,
        (journal, mut results, server): (Journal, Results, Option<Server>),
        (cancel, end): (&CancellationToken, &CancellationToken),
    ) -> Result<Summary, Failure> {
        let mut progress = Progress::new();
        let (mut wrong, mut begun) = (None, false);
        let running = batch.run_with_rows(open, journal, |row_result, summary| {
            let written = match row_result {
                _ if !std::mem::replace(&mut begun, true) => results.begin(),
                Some(row_result) => progress.around(|| results.write(row_result)),
                None => Ok(()),
            };
            if let Err(failure) = written {
                cancel.cancel();
                wrong.get_or_insert(failure);
            }
            progress.show(summary);
        });
        let interrupted = stopping::until_ended(self.stop_after, cancel, end, context.json);
        let watched = async {
            if let Some(server) = server
                && let Err(error) = server.serve(std::future::pending()).await
            {
                tracing::warn!(%error, "metrics are not served any more");
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = running => ended,
            never = interrupted => match never {},
            never = watched => never,
        };
        progress.clear();
        let summary = ended.map_err(|error| self.failure(&error))?;
        wrong.map_or(Ok(summary), Err)
    }

    fn results(&self, context: &Context, read: &Read) -> Result<Results, Failure> {
        Results::open(self.results.as_deref(), context.json, read).inspect_err(|_| {
            // Nothing has begun yet, so nothing is to be gone on with.
            if !self.resume {
                let _ = std::fs::remove_file(self.journal());
            }
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            concurrency: self.concurrency,
            calls_per_second: self.cps,
            live: self.live.map(|live| live.try_into().unwrap_or(usize::MAX)),
            retries: self.retries,
            allow_duplicates: self.allow_duplicates,
            ..Limits::default()
        }
    }

    /// Reads the file to its end.
    fn read_whole(&self, open: impl Fn() -> Result<Entries, NoBatch>) -> Result<Read, NoBatch> {
        if self.file == Path::new("-") {
            return Err(NoBatch::NoFile);
        }
        let entries = open()?;
        let (layout, encoding) = (entries.layout(), entries.encoding());
        Ok(Read { layout, encoding, columns: entries.columns()? })
    }

    /// Refuses results that would be written over the batch or its journal.
    fn spare_what_is_read(&self) -> Done {
        let Some(results) = &self.results else { return Ok(()) };
        // Of what is not there yet, the folder is.
        let real = |path: &Path| {
            path.canonicalize().ok().or_else(|| {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
                Some(folder.join(path.file_name()?))
            })
        };
        for (read, what) in [(self.file.clone(), "the batch"), (self.journal(), "its journal")] {
            if *results == read || real(results).is_some_and(|there| Some(there) == real(&read)) {
                let message = format!("--results {} would write over {what}", results.display());
                return Err(Failure::usage("results_taken", message));
            }
        }
        Ok(())
    }

    fn journal(&self) -> PathBuf {
        self.journal.clone().unwrap_or_else(|| {
            let mut name = self.file.clone().into_os_string();
            name.push(".journal");
            name.into()
        })
    }

    fn defaults(&self) -> Result<Defaults, Failure> {
        let tenant = self.tenant.as_deref().map(str::parse::<TenantId>).transpose();
        let from = self.from.as_deref().map(str::parse::<E164>).transpose();
        Ok(Defaults {
            tenant: tenant
                .map_err(|error| Failure::usage("tenant_malformed", error.to_string()))?,
            from: from.map_err(|error| Failure::usage("number_malformed", error.to_string()))?,
            separator: self.separator,
            columns: self.columns.clone(),
        })
    }
}

fn column(text: &str) -> Result<(Column, String), String> {
    let (column, heading) =
        text.split_once('=').ok_or("COLUMN=HEADING, such as `to=phone_number`")?;
    let column = column.parse().map_err(|error| format!("{error}"))?;
    match heading.trim() {
        "" => Err("a heading must follow the =".to_owned()),
        heading => Ok((column, heading.to_owned())),
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=Limits::MOST_CONCURRENCY) => Ok(number),
        _ => Err(format!("a number from 1 to {}", Limits::MOST_CONCURRENCY)),
    }
}

fn calls_per_second(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(0.0) => Ok(0.0),
        Ok(number) if Limits::CALLS_PER_SECOND.contains(&number) => Ok(number),
        _ => Err("a number from 0.001 to 10000, such as 0.5; 0 is as many as come".to_owned()),
    }
}
