//! How a batch is run, as its client says it and its row keeps it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dispatch::batch::{Column, Defaults, Limits};
use crate::dispatch::{Dial, EngineDial};

/// What may be said of a batch beside its rows. What is not said is as on the command line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct BatchOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) separator: Option<String>,
    /// `to=phone_number`, and more of them behind commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_duplicates: Option<bool>,
    /// `agent` or `engine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait: Option<bool>,
    /// In seconds, as those below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ringing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) longest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confirm_agent: Option<u64>,
}

/// The same in the types of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) defaults: Defaults,
    pub(crate) limits: Limits,
    pub(crate) dial: Dial,
    pub(crate) confirm_agent: Option<Duration>,
}

/// What is wrong with one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongOption {
    pub(crate) field: &'static str,
    pub(crate) why: String,
}

impl BatchOptions {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`WrongOption`] says which one cannot be followed, and why.
    pub(crate) fn read(&self) -> Result<RunOptions, WrongOption> {
        Ok(RunOptions {
            defaults: Defaults {
                tenant: parsed("tenant", self.tenant.as_deref())?,
                from: parsed("from", self.from.as_deref())?,
                separator: parsed("separator", self.separator.as_deref())?,
                columns: self.columns.as_deref().map_or_else(|| Ok(Vec::new()), columns)?,
            },
            limits: self.limits()?,
            dial: self.dial()?,
            confirm_agent: seconds("confirm_agent", self.confirm_agent, MOST_CONFIRMING)?,
        })
    }

    fn limits(&self) -> Result<Limits, WrongOption> {
        let usual = Limits::default();
        let cps = self.cps.unwrap_or(usual.calls_per_second);
        if !(0.0..=MOST_CPS).contains(&cps) {
            return Err(wrong("cps", format!("must be 0, for no limit, to {MOST_CPS}")));
        }
        let live = whole("live", self.live, 1, 100_000)?;
        Ok(Limits {
            concurrency: whole("concurrency", self.concurrency, 1, 1000)?
                .unwrap_or(usual.concurrency),
            calls_per_second: cps,
            live,
            retries: whole("retries", self.retries, 0, 100)?
                .and_then(|many| u32::try_from(many).ok())
                .unwrap_or(usual.retries),
            allow_duplicates: self.allow_duplicates.unwrap_or(usual.allow_duplicates),
            ..usual
        })
    }

    fn dial(&self) -> Result<Dial, WrongOption> {
        match self.dial.as_deref() {
            Some("engine") => {
                let usual = EngineDial::default();
                Ok(Dial::Engine(EngineDial {
                    wait_until_answered: self.wait.unwrap_or(usual.wait_until_answered),
                    ringing: seconds("ringing", self.ringing, MOST_RINGING)?
                        .unwrap_or(usual.ringing),
                    longest: seconds("longest", self.longest, MOST_LASTING)?
                        .unwrap_or(usual.longest),
                }))
            }
            None | Some("agent") => {
                let said = [
                    ("wait", self.wait.is_some()),
                    ("ringing", self.ringing.is_some()),
                    ("longest", self.longest.is_some()),
                ];
                match said.iter().find(|(_, is_said)| *is_said) {
                    Some((field, _)) => {
                        let why =
                            "must be left out, or dial must be engine: the agent dials as it likes";
                        Err(wrong(field, why))
                    }
                    None => Ok(Dial::Agent),
                }
            }
            Some(_) => Err(wrong("dial", "must be agent or engine")),
        }
    }
}

fn wrong(field: &'static str, why: impl Into<String>) -> WrongOption {
    WrongOption { field, why: why.into() }
}

fn parsed<T>(field: &'static str, text: Option<&str>) -> Result<Option<T>, WrongOption>
where
    T: std::str::FromStr,
    T::Err: ToString,
{
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map(str::parse).transpose().map_err(|error: T::Err| wrong(field, error.to_string()))
}

fn columns(text: &str) -> Result<Vec<(Column, String)>, WrongOption> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let malformed = || wrong("columns", "must be such as to=phone_number,from=our_number");
        let (column, heading) = pair.split_once('=').ok_or_else(malformed)?;
        let column = column.trim().parse::<Column>();
        let column = column.map_err(|error| wrong("columns", error.to_string()))?;
        let heading = heading.trim();
        if heading.is_empty() { Err(malformed()) } else { Ok((column, heading.to_owned())) }
    };
    let columns = pairs.map(pair).collect::<Result<Vec<_>, _>>()?;
    let is_twice = |(at, (column, _)): (usize, &(Column, String))| {
        columns.iter().take(at).any(|(before, _)| before == column)
    };
    if columns.iter().enumerate().any(is_twice) {
        return Err(wrong("columns", "must name each column once"));
    }
    Ok(columns)
}

fn whole(
    field: &'static str,
    number: Option<u64>,
    least: u64,
    most: u64,
) -> Result<Option<usize>, WrongOption> {
    let Some(number) = number else { return Ok(None) };
    let fits = (least..=most).contains(&number).then(|| usize::try_from(number).ok()).flatten();
    fits.map(Some)
        .ok_or_else(|| wrong(field, format!("must be a whole number from {least} to {most}")))
}

fn seconds(
    field: &'static str,
    number: Option<u64>,
    most: u64,
) -> Result<Option<Duration>, WrongOption> {
    Ok(whole(field, number, 1, most)?.map(|seconds| Duration::from_secs(seconds as u64)))
}

const MOST_CPS: f64 = 1000.0;
/// In seconds, as those below.
const MOST_RINGING: u64 = 80;
const MOST_LASTING: u64 = 86_400;
const MOST_CONFIRMING: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &BatchOptions) -> &'static str {
        options.read().unwrap_err().field
    }

    #[test]
    fn what_is_not_said_is_as_on_the_command_line_and_what_cannot_be_is_named() {
        let usual = BatchOptions::default().read().unwrap();
        assert_eq!((usual.limits, usual.dial), (Limits::default(), Dial::Agent));
        let of = |options: BatchOptions| refused(&options);
        let none = BatchOptions::default;
        assert_eq!(of(BatchOptions { tenant: Some("x".into()), ..none() }), "tenant");
        assert_eq!(of(BatchOptions { from: Some("12".into()), ..none() }), "from");
        assert_eq!(of(BatchOptions { separator: Some("\"".into()), ..none() }), "separator");
        for text in ["to", "to=", "too=x", "to=a,to=b"] {
            assert_eq!(of(BatchOptions { columns: Some(text.into()), ..none() }), "columns");
        }
        for cps in [-1.0, 1001.0, f64::NAN] {
            assert_eq!(of(BatchOptions { cps: Some(cps), ..none() }), "cps");
        }
        assert_eq!(of(BatchOptions { concurrency: Some(0), ..none() }), "concurrency");
        assert_eq!(of(BatchOptions { ringing: Some(9), ..none() }), "ringing");
        let engine = || BatchOptions { dial: Some("engine".into()), ..none() };
        assert_eq!(of(BatchOptions { ringing: Some(81), ..engine() }), "ringing");
        let read = BatchOptions { columns: Some("to=phone, job=id".into()), ..engine() }.read();
        let columns = read.unwrap().defaults.columns;
        assert_eq!(columns, [(Column::To, "phone".to_owned()), (Column::Job, "id".to_owned())]);
    }
}
