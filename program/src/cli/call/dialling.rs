//! Who dials, and how: the options that `call` and `batch run` share.

use std::time::Duration;

use clap::Args;
use trunkline::Phone;
use trunkline::dispatch::{Dial, EngineDial};
use trunkline::settings::parse_duration;

use super::super::failure::Failure;

/// Who dials, and how.
#[derive(Args)]
pub(crate) struct Dialling {
    /// The agent dials, from the metadata (the default)
    #[arg(long, conflicts_with = "engine_dials")]
    agent_dials: bool,
    /// The engine dials, and reports what the carrier says
    #[arg(long)]
    engine_dials: bool,
    /// Do not wait until the phone is answered
    #[arg(long, requires = "engine_dials")]
    no_wait: bool,
    /// How long the phone may ring
    #[arg(long, value_name = "SECONDS", requires = "engine_dials", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=EngineDial::MOST_RINGING))]
    ringing: u64,
    /// How long the call may last
    #[arg(long, value_name = "SECONDS", requires = "engine_dials", default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=EngineDial::MOST_LASTING))]
    longest: u64,
    /// Remove noise from the phone's audio
    #[arg(long, requires = "engine_dials")]
    krisp: bool,
    /// The name that the called person sees beside the number
    #[arg(long, value_name = "NAME", requires = "engine_dials")]
    display_name: Option<String>,
    /// Hide the phone's number from the others in the room
    #[arg(long, requires = "engine_dials")]
    hide_number: bool,
    /// The name under which the phone joins the room
    #[arg(long, value_name = "NAME", requires = "engine_dials")]
    phone_name: Option<String>,
    /// An attribute of the phone that others in the room see; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "engine_dials", value_parser = pair)]
    phone_attribute: Vec<(String, String)>,
    /// A SIP header for the carrier; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "engine_dials", value_parser = pair)]
    header: Vec<(String, String)>,
    /// How long to wait for a worker to take the agent's job, such as 10s; without it the call
    /// goes on once the agent was sent
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) confirm_agent: Option<Duration>,
}

impl Dialling {
    /// How the phone is dialled and joins its room.
    pub(crate) fn phone(&self) -> Result<Phone, Failure> {
        let texts = |pairs: &[(String, String)]| {
            let text =
                |(name, value): &(String, String)| (name.as_str().into(), value.as_str().into());
            pairs.iter().map(text).collect()
        };
        let phone = Phone {
            krisp_enabled: self.krisp.then_some(true),
            display_name: self.display_name.as_deref().map(Into::into),
            hide_phone_number: self.hide_number.then_some(true),
            participant_name: self.phone_name.as_deref().map(Into::into),
            participant_attributes: texts(&self.phone_attribute),
            headers: texts(&self.header),
        };
        phone.check().map_err(|wrong| Failure::usage("phone_malformed", wrong.to_string()))?;
        Ok(phone)
    }

    pub(crate) fn dial(&self) -> Dial {
        if !self.engine_dials {
            return Dial::Agent;
        }
        Dial::Engine(EngineDial {
            wait_until_answered: !self.no_wait,
            ringing: Duration::from_secs(self.ringing),
            longest: Duration::from_secs(self.longest),
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(in crate::cli) fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "must be a time such as 500ms, 10s, 5m or 2h".to_owned())
}
