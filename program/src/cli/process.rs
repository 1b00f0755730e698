//! Keeps the memory of the process from other programs: no core file, and nobody of the same user
//! attaches to it or reads it.
//!
//! And lets it open as many files as it may.
//!
//! Root can do all of that still. Children begin anew, except for the core file.

use std::io;

/// Keeps it to itself from here on, as far as the system grants that.
#[cfg(target_os = "linux")]
pub(crate) fn keep_to_itself() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Takes as many open files as the system grants at the most; by default it is given far fewer, for
/// programs of old that cannot have more than 1024.
#[cfg(target_os = "linux")]
pub(crate) fn take_all_files() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Other systems are left as they are.
#[cfg(not(target_os = "linux"))]
pub(crate) fn take_all_files() -> io::Result<()> {
    Ok(())
}

/// Other systems have no such switch that is safe to turn.
#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_to_itself() -> io::Result<()> {
    Ok(())
}
