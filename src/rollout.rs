//! The rollout: which callers the database answers while Trunkline is being adopted.
//!
//! It is one row of the database, obeyed by every node within `LEASE`. Without that row the database
//! answers everybody, which is [`Stage::Live`]. The flag comes first: while it is off, no stage counts.
//!
//! Who is inside is decided by a hash and never by chance or time, so each node says the same, and a
//! share that grows takes nobody out:
//!
//! ```text
//! bucket = first 8 bytes, big endian, of SHA-256(salt + "/" + tenant [+ "/" + number]) modulo 100 000
//! inside = bucket < thousandths of a per cent
//! ```
//!
//! The tenant is written in small letters with hyphens, the number with its plus.

mod run;
mod share;
mod stage;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::run::{
    Before, Counts, Guard, Outcome, Progress, Run, RunError, RunEvent, RunPlan, RunState, RunStep,
    StepResult,
};
pub(crate) use self::run::{Next, NodeCounts};
pub use self::share::Share;
use self::share::WHOLE;
pub use self::stage::{Stage, Unit};
use crate::number::{Caller, TenantId};
use crate::reason::Reason;

/// What of a rollout cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// A word that is no [`Stage`].
    #[error("must be one of off, shadow, percent, live and complete")]
    Stage,
    /// A word that is no [`Unit`].
    #[error("must be tenant or number")]
    Unit,
    /// A text that is neither a stage nor a share.
    #[error("must be off, shadow, live, complete, or a share in per cent, such as 10 or 0.125")]
    Target,
    /// More tenants on a list than it may hold.
    #[error("a list may hold 1000 tenants; a greater share takes in more")]
    TooMany,
    /// A text that is no [`Share`].
    #[error("must be a number from 0 to 100 with three decimals at the most, such as 10 or 0.125")]
    Share,
}

/// The rollout as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rollout {
    /// How far it has come.
    pub stage: Stage,
    /// The share that is inside; it counts at [`Stage::Percent`] alone, and is kept at others.
    pub percent: Share,
    /// What it is a share of.
    pub unit: Unit,
    /// What the hash begins with, so that not every rollout begins with the same tenants.
    pub salt: String,
    /// Tenants that are inside whatever their share.
    pub allow: Vec<TenantId>,
    /// Tenants that are outside whatever else is said.
    pub deny: Vec<TenantId>,
    /// How often it was changed. Zero: never, and no row says anything.
    pub version: i64,
}

impl Default for Rollout {
    /// What holds where the database says nothing.
    fn default() -> Self {
        Self {
            stage: Stage::Live,
            percent: Share::default(),
            unit: Unit::default(),
            salt: String::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            version: 0,
        }
    }
}

/// Whose answer a caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The database's.
    Inside,
    /// The environment's, since the caller is outside of the rollout.
    Outside,
    /// The environment's, and the database's is compared with it.
    Shadow,
}

impl Side {
    /// Why it is the environment's.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Inside => None,
            Self::Outside => Some(Reason::OutsideRollout),
            Self::Shadow => Some(Reason::Shadow),
        }
    }
}

/// A change of a rollout, as an operator asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolloutEdit {
    /// The stage to go to, or as it is.
    pub stage: Option<Stage>,
    /// Another share, or as it is.
    pub percent: Option<Share>,
    /// Tenants to put onto the list of those that are inside.
    pub allow: Vec<TenantId>,
    /// Tenants to put onto the list of those that are outside.
    pub deny: Vec<TenantId>,
    /// Tenants to take off both lists.
    pub unlist: Vec<TenantId>,
}

impl FromStr for RolloutEdit {
    type Err = RolloutError;

    /// A stage, or a share, which is that of the stage [`Stage::Percent`].
    fn from_str(text: &str) -> Result<Self, RolloutError> {
        if let Ok(stage) = text.parse() {
            return Ok(Self { stage: Some(stage), ..Self::default() });
        }
        let percent = text.parse().map_err(|_| RolloutError::Target)?;
        Ok(Self { stage: Some(Stage::Percent), percent: Some(percent), ..Self::default() })
    }
}

impl Rollout {
    /// It with a change. `salt` is what a rollout that has none yet begins its hashes with.
    ///
    /// # Errors
    ///
    /// [`RolloutError::TooMany`].
    pub fn with(&self, edit: &RolloutEdit, salt: &str) -> Result<Self, RolloutError> {
        let mut new = self.clone();
        new.stage = edit.stage.unwrap_or(new.stage);
        new.percent = edit.percent.unwrap_or(new.percent);
        if new.salt.is_empty() {
            salt.clone_into(&mut new.salt);
        }
        // Each tenant that is named is on one list, or on none.
        let named = |tenant: &TenantId| {
            [&edit.allow, &edit.deny, &edit.unlist].iter().any(|list| list.contains(tenant))
        };
        let allowed = edit.allow.iter().filter(|tenant| !edit.deny.contains(tenant));
        for list in [&mut new.allow, &mut new.deny] {
            list.retain(|tenant| !named(tenant));
        }
        new.allow.extend(allowed);
        new.deny.extend(&edit.deny);
        for list in [&mut new.allow, &mut new.deny] {
            list.sort_unstable();
            list.dedup();
            if list.len() > MOST_LISTED {
                return Err(RolloutError::TooMany);
            }
        }
        Ok(new)
    }

    /// A rollout that begins anew: nobody is inside, no list holds anybody, and other tenants come first.
    #[must_use]
    pub fn begun_anew(&self, unit: Unit, salt: &str) -> Self {
        let (salt, version) = (salt.to_owned(), self.version);
        Self { stage: Stage::Off, unit, salt, version, ..Self::default() }
    }

    /// On which side a caller is.
    #[must_use]
    pub fn side(&self, caller: Caller) -> Side {
        self.side_of_all().unwrap_or_else(|| {
            let is_inside = !self.deny.contains(&caller.tenant)
                && (self.allow.contains(&caller.tenant)
                    || self.bucket(caller) < self.percent.thousandths());
            if is_inside { Side::Inside } else { Side::Outside }
        })
    }

    /// It as a sentence without its full stop.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { stage, percent, unit, .. } = self;
        let words = match stage {
            Stage::Off => "the environment answers everybody".to_owned(),
            Stage::Shadow => {
                "the environment answers everybody; the database's answers are compared".to_owned()
            }
            Stage::Percent => format!("the database answers {percent} % of the {unit}s"),
            Stage::Live => {
                "the database answers everybody; where it cannot, the environment".to_owned()
            }
            Stage::Complete => "the database answers everybody, the environment nobody".to_owned(),
        };
        format!("{stage}: {words}")
    }

    /// The side that everybody is on. `None`: it depends on the caller.
    #[must_use]
    pub fn side_of_all(&self) -> Option<Side> {
        match self.stage {
            Stage::Live | Stage::Complete => Some(Side::Inside),
            Stage::Off => Some(Side::Outside),
            Stage::Shadow => Some(Side::Shadow),
            Stage::Percent => None,
        }
    }

    /// The place of a caller among the 100 000 that a share is cut from.
    #[must_use]
    pub fn bucket(&self, caller: Caller) -> u32 {
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        hash.update(format!("/{}", caller.tenant.0.as_hyphenated()));
        if self.unit == Unit::Number {
            hash.update(format!("/{}", caller.number));
        }
        let hash: [u8; 32] = hash.finalize().into();
        let first = hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte));
        let bucket = first % u64::from(WHOLE);
        u32::try_from(bucket).unwrap_or(WHOLE)
    }
}

/// What the rollout makes of a caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) side: Side,
    /// Whether the environment answers where the database cannot.
    pub(crate) falls_back: bool,
}

impl Standing {
    /// Where nothing is known of a rollout.
    pub(crate) const UNKNOWN: Self = Self { side: Side::Inside, falls_back: true };

    pub(crate) fn of(rollout: &Rollout, caller: Caller) -> Self {
        Self { side: rollout.side(caller), falls_back: rollout.stage.falls_back() }
    }

    /// Of a number that no tenant is known for.
    pub(crate) fn of_nobody(rollout: &Rollout) -> Self {
        let side = rollout.side_of_all().unwrap_or(Side::Inside);
        Self { side, falls_back: rollout.stage.falls_back() }
    }
}

/// A list is read with each row, and looked through for each load.
const MOST_LISTED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::E164;

    fn caller(tenant: u128, number: u64) -> Caller {
        let number = E164::from_digits(&number.to_string()).unwrap();
        Caller::new(TenantId(uuid::Uuid::from_u128(tenant)), number)
    }

    fn percent(share: &str, unit: Unit) -> Rollout {
        let edit: RolloutEdit = share.parse().unwrap();
        Rollout::default().begun_anew(unit, "a salt").with(&edit, "").unwrap()
    }

    /// The same by `printf %s SALT/TENANT[/NUMBER] | sha256sum`.
    #[test]
    fn who_is_where_is_the_same_in_any_program() {
        let one = caller(0x6f1c_0a52_8d3e_4b7a_9c55_0e2f_4a6b_8d10, 971_501_234_567);
        let by_tenant = percent("50", Unit::Tenant);
        let by_number = percent("50", Unit::Number);
        assert_eq!((by_tenant.bucket(one), by_number.bucket(one)), (26_708, 5820));
    }

    #[test]
    fn a_share_that_grows_takes_nobody_out_and_is_about_as_great_as_it_says() {
        for unit in [Unit::Tenant, Unit::Number] {
            let mut inside_before = 0;
            let shares = ["0", "0.001", "1", "10", "50", "99.999", "100"];
            let rollouts = shares.map(|share| percent(share, unit));
            let callers: Vec<_> =
                (0..20_000).map(|at| caller(u128::from(at), 971_500_000_000 + at)).collect();
            for (rollout, share) in rollouts.iter().zip(shares) {
                let inside = callers.iter().filter(|caller| rollout.side(**caller) == Side::Inside);
                let inside = inside.count();
                assert!(inside >= inside_before, "{share}");
                let wanted = f64::from(rollout.percent) * 200.0;
                #[expect(clippy::cast_precision_loss, reason = "few")]
                let off = (inside as f64 - wanted).abs();
                assert!(off <= 400.0, "{share} of {unit}: {inside}");
                inside_before = inside;
            }
            for pair in rollouts.windows(2) {
                let left = |caller: &&Caller| {
                    pair[0].side(**caller) == Side::Inside && pair[1].side(**caller) != Side::Inside
                };
                assert_eq!(callers.iter().find(left), None, "nobody leaves");
            }
            let all = |rollout: &Rollout, side| {
                callers.iter().all(|caller| rollout.side(*caller) == side)
            };
            assert!(all(&rollouts[0], Side::Outside) && all(&rollouts[6], Side::Inside));
        }
    }

    #[test]
    fn lists_come_before_the_share_and_deny_before_allow() {
        let (one, two) = (caller(1, 971_500_000_001), caller(2, 971_500_000_002));
        let edit = |allow: &[Caller], deny: &[Caller], unlist: &[Caller]| RolloutEdit {
            allow: allow.iter().map(|caller| caller.tenant).collect(),
            deny: deny.iter().map(|caller| caller.tenant).collect(),
            unlist: unlist.iter().map(|caller| caller.tenant).collect(),
            ..RolloutEdit::default()
        };
        let none = percent("0", Unit::Tenant);
        let allowed = none.with(&edit(&[one], &[], &[]), "").unwrap();
        assert_eq!((allowed.side(one), allowed.side(two)), (Side::Inside, Side::Outside));
        let denied = percent("100", Unit::Tenant).with(&edit(&[], &[one], &[]), "").unwrap();
        assert_eq!((denied.side(one), denied.side(two)), (Side::Outside, Side::Inside));
        let both = Rollout { deny: vec![one.tenant], ..allowed.clone() };
        assert_eq!(both.side(one), Side::Outside);
        let moved = denied.with(&edit(&[one], &[], &[]), "").unwrap();
        assert_eq!((moved.allow.len(), moved.deny.len()), (1, 0), "on one list");
        let off = moved.with(&edit(&[], &[], &[one]), "").unwrap();
        assert!(off.allow.is_empty() && off.deny.is_empty());
        let many = (0..=1000).map(|tenant| caller(tenant, 971_500_000_001)).collect::<Vec<_>>();
        assert_eq!(none.with(&edit(&many, &[], &[]), ""), Err(RolloutError::TooMany));
    }

    #[test]
    fn at_other_stages_everybody_is_on_one_side() {
        let listed =
            RolloutEdit { deny: vec![caller(1, 1_000_000).tenant], ..RolloutEdit::default() };
        for (stage, side) in [
            (Stage::Off, Side::Outside),
            (Stage::Shadow, Side::Shadow),
            (Stage::Live, Side::Inside),
            (Stage::Complete, Side::Inside),
        ] {
            let rollout = percent("0", Unit::Tenant).with(&listed, "").unwrap();
            let rollout = Rollout { stage, ..rollout };
            assert_eq!(rollout.side(caller(1, 971_500_000_001)), side, "{stage}");
            assert_eq!(stage.falls_back(), stage != Stage::Complete);
        }
        assert_eq!(Rollout::default().side(caller(1, 971_500_000_001)), Side::Inside);
    }
}
