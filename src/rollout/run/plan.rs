//! What is asked of a run: its steps, how long it soaks at each, and what its guard looks for.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rollout::{Rollout, Share, Stage};

/// Why a run cannot be as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No step at all, or too many.
    #[error("steps: there must be from 1 to {MOST_STEPS} of them, such as 10,50,100")]
    Steps,
    /// A step that is none.
    #[error("steps: {0} takes in nobody more; each step must be greater than the one before it")]
    NotRising(Share),
    /// More soaks than steps.
    #[error("soak: {soaks} soaks are more than the {steps} steps")]
    TooManySoaks {
        /// How many there are.
        soaks: usize,
        /// Of how many steps.
        steps: usize,
    },
    /// Fewer soaks than there are steps to wait at.
    #[error(
        "soak: there are {soaks} soaks for {steps} steps; say one for all of them, one for each but the \
         last, or one for each"
    )]
    TooFewSoaks {
        /// How many there are.
        soaks: usize,
        /// Of how many steps.
        steps: usize,
    },
    /// A soak of no time.
    #[error("soak: must not be zero: without a soak nobody would see a step fail")]
    NoSoak,
    /// A soak that is over before anything is found.
    #[error("soak: {0:?} is shorter than a window, and no window would be over by then")]
    SoakTooShort(Duration),
    /// A soak or window beyond what anybody waits for.
    #[error("soak and window: must be at most a year")]
    TooLong,
    /// A window of no time.
    #[error("window: must be at least a second")]
    Window,
    /// No number of calls.
    #[error("least: must be at least 1: of no calls nothing is known")]
    Least,
    /// A guard that never finds anything.
    #[error("bad: must be less than 100: else the guard finds nothing")]
    Bad,
    /// The database answers everybody.
    #[error("the rollout is at {0}: the database answers everybody, and there is no step to take")]
    NothingToRollOut(Stage),
    /// Its first step is behind the rollout.
    #[error(
        "steps: the rollout is at {now} % already, so the first step must be greater than that"
    )]
    Behind {
        /// The share at present.
        now: Share,
    },
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunStep {
    /// The share that is inside.
    pub percent: Share,
    /// For how long it stays there at the least, in seconds. Zero: until one window was good.
    #[serde(serialize_with = "seconds", deserialize_with = "of_seconds")]
    pub soak: Duration,
}

/// What the guard looks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Guard {
    /// A window is bad if more of its calls than this share were faults.
    pub bad: Share,
    /// A window is over when it has so many calls, and no earlier.
    pub least: u64,
    /// How long it is at the least, in seconds.
    #[serde(serialize_with = "seconds", deserialize_with = "of_seconds")]
    pub window: Duration,
}

impl Default for Guard {
    /// More than one call in a hundred, of at least a hundred, in five minutes.
    fn default() -> Self {
        let bad = Share::of_thousandths(1000).unwrap_or_default();
        Self { bad, least: 100, window: Duration::from_secs(300) }
    }
}

impl Guard {
    /// With other limits.
    #[must_use]
    pub fn new(bad: Share, least: u64, window: Duration) -> Self {
        Self { bad, least, window }
    }
}

/// Where the rollout was before a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Before {
    /// Its stage.
    pub stage: Stage,
    /// Its share.
    pub percent: Share,
}

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunPlan {
    /// Its steps, each greater than the one before.
    pub steps: Vec<RunStep>,
    /// What its guard looks for.
    pub guard: Guard,
    /// Where the rollout was, to which the first step goes back.
    pub before: Before,
    /// What the rollout's hash begins with. Another one would be other tenants.
    pub(crate) salt: String,
}

impl RunPlan {
    /// A plan from where the rollout is. `salt`: what a rollout that has none begins its hashes with.
    ///
    /// # Errors
    ///
    /// [`RunError`] says what of it cannot be.
    pub fn new(
        steps: &[Share],
        soaks: &[Duration],
        guard: Guard,
        now: &Rollout,
        salt: &str,
    ) -> Result<Self, RunError> {
        check_guard(&guard)?;
        check_steps(steps)?;
        let soaks = soaks_of(steps.len(), soaks, guard.window)?;
        let first = steps.first().copied().unwrap_or_default();
        match now.stage {
            stage @ (Stage::Live | Stage::Complete) => {
                return Err(RunError::NothingToRollOut(stage));
            }
            Stage::Percent if first <= now.percent => {
                return Err(RunError::Behind { now: now.percent });
            }
            _ => {}
        }
        let steps = steps.iter().zip(soaks).map(|(&percent, soak)| RunStep { percent, soak });
        let salt = if now.salt.is_empty() { salt } else { &now.salt };
        Ok(Self {
            steps: steps.collect(),
            guard,
            before: Before { stage: now.stage, percent: now.percent },
            salt: salt.to_owned(),
        })
    }
}

fn check_guard(guard: &Guard) -> Result<(), RunError> {
    if guard.window < SHORTEST_WINDOW {
        return Err(RunError::Window);
    }
    if guard.window > LONGEST {
        return Err(RunError::TooLong);
    }
    if guard.least == 0 {
        return Err(RunError::Least);
    }
    if guard.bad >= Share::WHOLE {
        return Err(RunError::Bad);
    }
    Ok(())
}

fn check_steps(steps: &[Share]) -> Result<(), RunError> {
    if steps.is_empty() || steps.len() > MOST_STEPS {
        return Err(RunError::Steps);
    }
    let before = [Share::default()].into_iter().chain(steps.iter().copied());
    match before.zip(steps).find(|(before, step)| before >= *step) {
        Some((_, &step)) => Err(RunError::NotRising(step)),
        None => Ok(()),
    }
}

/// How long it soaks at each step.
fn soaks_of(steps: usize, soaks: &[Duration], window: Duration) -> Result<Vec<Duration>, RunError> {
    if soaks.iter().any(Duration::is_zero) {
        return Err(RunError::NoSoak);
    }
    if soaks.iter().any(|&soak| soak > LONGEST) {
        return Err(RunError::TooLong);
    }
    if let Some(&short) = soaks.iter().find(|&&soak| soak < window) {
        return Err(RunError::SoakTooShort(short));
    }
    match soaks {
        soaks if soaks.len() > steps => Err(RunError::TooManySoaks { soaks: soaks.len(), steps }),
        soaks if soaks.len() == steps => Ok(soaks.to_vec()),
        soaks if soaks.len() + 1 == steps => Ok([soaks, &[Duration::ZERO]].concat()),
        [one] => Ok([vec![*one; steps - 1], vec![Duration::ZERO]].concat()),
        soaks => Err(RunError::TooFewSoaks { soaks: soaks.len(), steps }),
    }
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

fn of_seconds<'d, D: Deserializer<'d>>(from: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(from)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}

const MOST_STEPS: usize = 50;
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn plan(steps: &[u32], soaks: &[Duration], now: &str) -> Result<RunPlan, RunError> {
        let steps = steps.iter().map(|&percent| Share::of_thousandths(percent * 1000).unwrap());
        let steps: Vec<_> = steps.collect();
        let now = Rollout::default().with(&now.parse().unwrap(), "salt").unwrap();
        RunPlan::new(&steps, soaks, Guard::default(), &now, "salt")
    }

    #[test]
    fn each_mistake_has_words_of_its_own() {
        let one = HOUR;
        for (steps, soaks, now, words) in [
            (&[][..], &[one][..], "off", "from 1 to 50"),
            (&[10, 10], &[one], "off", "10 takes in nobody more"),
            (&[50, 10], &[one], "off", "10 takes in nobody more"),
            (&[0, 10], &[one], "off", "0 takes in nobody more"),
            (&[10, 50], &[one, one, one], "off", "3 soaks are more than the 2 steps"),
            (&[1, 2, 3, 4], &[one, one], "off", "2 soaks for 4 steps"),
            (&[10, 50], &[], "off", "0 soaks for 2 steps"),
            (&[10, 50], &[Duration::ZERO], "off", "must not be zero"),
            (&[10, 50], &[one / 60], "off", "shorter than a window"),
            (&[10, 50], &[one * 10_000], "off", "at most a year"),
            (&[10, 50], &[one], "live", "the rollout is at live"),
            (&[10, 50], &[one], "complete", "the rollout is at complete"),
            (&[10, 50], &[one], "10", "at 10 % already"),
        ] {
            let error = plan(steps, soaks, now).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let off = Rollout::default().with(&"off".parse().unwrap(), "").unwrap();
        let with = |bad: u32, least, window| {
            let guard = Guard::new(Share::of_thousandths(bad).unwrap(), least, window);
            RunPlan::new(&[Share::WHOLE], &[HOUR], guard, &off, "").unwrap_err()
        };
        assert_eq!(with(100_000, 1, HOUR), RunError::Bad);
        assert_eq!(with(1, 0, HOUR), RunError::Least);
        assert_eq!(with(1, 1, Duration::ZERO), RunError::Window);
    }

    #[test]
    fn a_soak_is_for_each_step_for_each_but_the_last_or_for_all_but_the_last() {
        let soaks = |soaks: &[Duration]| -> Vec<Duration> {
            let plan = plan(&[10, 50, 100], soaks, "shadow").unwrap();
            plan.steps.iter().map(|step| step.soak).collect()
        };
        let (day, two) = (HOUR * 24, HOUR * 48);
        assert_eq!(soaks(&[day, two]), [day, two, Duration::ZERO]);
        assert_eq!(soaks(&[day]), [day, day, Duration::ZERO]);
        assert_eq!(soaks(&[day, two, day]), [day, two, day]);
        let one = plan(&[100], &[day], "off").unwrap();
        assert_eq!(one.steps[0].soak, day);
    }

    #[test]
    fn a_plan_reads_back_from_its_row() {
        let plan = plan(&[10, 100], &[HOUR], "5").unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<RunPlan>(&text).unwrap(), plan);
    }
}
