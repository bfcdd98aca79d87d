//! Which process an engine runs in, so that one that starts on the same machine sees at once that
//! the one before is dead.

use std::collections::BTreeSet;
use std::fs;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The engines of this process that have a lease.
static LIVING: Mutex<BTreeSet<Uuid>> = Mutex::new(BTreeSet::new());

fn living() -> MutexGuard<'static, BTreeSet<Uuid>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One engine of this process, as long as it has its lease.
#[derive(Debug)]
pub(crate) struct Incarnation(Uuid);

impl Incarnation {
    pub(super) fn new(id: Uuid) -> Self {
        living().insert(id);
        Self(id)
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        living().remove(&self.0);
    }
}

/// This process, in words that no other has had since its machine was started; none where the
/// system does not say.
pub(super) fn this() -> Option<String> {
    let id = process::id();
    Some(format!("{} {id} {}", machine()?, started(id)?))
}

/// For a message.
pub(super) fn describe() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => format!("process {}", process::id()),
        host => format!("process {} on {host}", process::id()),
    }
}

/// What is known of the process of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Alive,
    Dead,
    /// It runs on another machine, or this one does not say.
    Unknown,
}

/// Looks after an engine, by what [`this`] has said in its process.
pub(super) fn look(process: Option<&str>, incarnation: Uuid) -> Sight {
    let Some(process) = process else { return Sight::Unknown };
    let is_alive = if this().as_deref() == Some(process) {
        living().contains(&incarnation)
    } else {
        let of_machine = machine().and_then(|machine| process.strip_prefix(&machine));
        let words = of_machine.and_then(|words| words.trim_start().split_once(' '));
        let Some((id, begun)) = words else { return Sight::Unknown };
        let Ok(id) = id.parse() else { return Sight::Unknown };
        started(id).as_deref() == Some(begun)
    };
    if is_alive { Sight::Alive } else { Sight::Dead }
}

/// Since when this machine runs, and which of its processes are seen.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let seen = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), seen.display()))
}

/// When a process was started, as the system counts; none where there is no such process.
fn started(id: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program stands in brackets, and may hold anything.
    let (_, after) = status.rsplit_once(')')?;
    let mut words = after.split_whitespace();
    if matches!(words.next()?, "Z" | "X") {
        return None;
    }
    words.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_engine_lives_with_its_process_and_its_lease() {
        let this = this().unwrap();
        let incarnation = Incarnation::new(Uuid::from_u128(1));
        assert_eq!(look(Some(&this), incarnation.0), Sight::Alive);
        drop(incarnation);
        assert_eq!(look(Some(&this), Uuid::from_u128(1)), Sight::Dead);

        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let other =
            format!("{} {} {}", machine().unwrap(), child.id(), started(child.id()).unwrap());
        assert_eq!(look(Some(&other), Uuid::from_u128(2)), Sight::Alive);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(look(Some(&other), Uuid::from_u128(2)), Sight::Dead);
    }

    #[test]
    fn of_another_machine_nothing_is_known() {
        assert_eq!(look(None, Uuid::nil()), Sight::Unknown);
        assert_eq!(look(Some("a-boot pid:[1] 1 1"), Uuid::nil()), Sight::Unknown);
    }
}
