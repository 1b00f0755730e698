//! `trunkline batch`: places the calls of a file.

mod failure;
mod progress;
mod results;
mod stopping;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use trunkline::dispatch::batch::{
    Batch as Running, BatchError, Defaults, Entries, Journal, Limits,
};
use trunkline::{E164, TenantId};

use self::failure::conclude;
use self::progress::Progress;
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
    /// How many calls a second go over one trunk; 0 is as many as come
    #[arg(long, value_name = "N", default_value_t = Limits::default().calls_per_second,
        allow_negative_numbers = true, value_parser = calls_per_second)]
    cps: f64,
    /// How many calls of this run are up at the same time over one trunk; the server is asked
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    live: Option<u32>,
    /// Place no more calls after this time, such as 2h; those that ring are waited for
    #[arg(long, value_name = "TIME", value_parser = time)]
    stop_after: Option<Duration>,
    /// How often an entry is tried again for which nothing was dialled
    #[arg(long, value_name = "N", default_value_t = Limits::default().retries)]
    retries: u32,
    /// Write the results there, one JSON object a line; without it they go to stdout
    #[arg(long, value_name = "PATH")]
    results: Option<PathBuf>,
    /// Go on with a run that was stopped; nobody is called twice
    #[arg(long)]
    resume: bool,
    /// The journal, where it is not FILE.journal
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// The tenant of the entries that name none
    #[arg(long, value_name = "UUID")]
    tenant: Option<String>,
    /// The caller number of the entries that name none
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// Serve metrics and health there while it runs, as `trunkline serve` does
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    dialling: Dialling,
}

impl Batch {
    pub(crate) async fn run(self, context: &Context) -> Done {
        let Self::Run(run) = self;
        run.run(context).await
    }
}

impl Run {
    async fn run(self, context: &Context) -> Done {
        let (defaults, phone) = (self.defaults()?, self.dialling.phone()?);
        let open = || Entries::open(&self.file, defaults.clone());
        // A file that is no batch leaves no journal behind.
        drop(open().map_err(BatchError::NoBatch).map_err(|error| self.failure(&error))?);
        let exporter = exporter()?;
        // Nothing has recorded to another one before.
        let _installed = self.listen.is_some() && exporter.install();
        let (dispatcher, database) = context.dispatcher()?;
        let server = match self.listen {
            Some(address) => {
                let server = bind(address, dispatcher.resolver(), database, exporter).await?;
                Some(server.hosts(context.settings()?.http_hosts))
            }
            None => None,
        };
        self.spare_what_is_read()?;
        let journal = self.journal();
        let journal =
            if self.resume { Journal::resume(&journal) } else { Journal::begin(&journal) };
        let journal = journal.map_err(|error| self.failure(&error))?;
        let mut results = match Results::open(self.results.as_deref(), context.json) {
            Ok(results) => results,
            Err(failure) => {
                // Nothing has begun yet, so nothing is to be gone on with.
                if !self.resume {
                    let _ = std::fs::remove_file(self.journal());
                }
                return Err(failure);
            }
        };
        let mut progress = Progress::new();

        let cancel = CancellationToken::new();
        let limits = Limits {
            concurrency: self.concurrency,
            calls_per_second: self.cps,
            live: self.live.map(|live| live.try_into().unwrap_or(usize::MAX)),
            retries: self.retries,
            ..Limits::default()
        };
        let end = CancellationToken::new();
        let batch = Running::new(&dispatcher, self.dialling.dial(), limits, cancel.clone())
            .confirming(self.dialling.confirm_agent)
            .dialling(phone)
            .ended_by(end.clone());
        let (mut wrong, mut begun) = (None, false);
        let running = batch.run(open, journal, |result, summary| {
            let written = match result {
                _ if !std::mem::replace(&mut begun, true) => results.begin(),
                Some(result) => progress.around(|| results.write(result)),
                None => Ok(()),
            };
            if let Err(failure) = written {
                cancel.cancel();
                wrong.get_or_insert(failure);
            }
            progress.show(summary);
        });
        let interrupted = stopping::until_ended(self.stop_after, &cancel, &end, context.json);
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
        dispatcher.resolver().stop(Duration::from_secs(1)).await;
        let summary = ended.map_err(|error| self.failure(&error))?;
        results.finish()?;
        wrong.map_or(Ok(()), Err)?;
        conclude(context, &summary)
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
        })
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err("a number from 1 to 1024".to_owned()),
    }
}

fn calls_per_second(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(0.0) => Ok(0.0),
        Ok(number) if (0.001..=10_000.0).contains(&number) => Ok(number),
        _ => Err("a number from 0.001 to 10000, such as 0.5; 0 is as many as come".to_owned()),
    }
}
