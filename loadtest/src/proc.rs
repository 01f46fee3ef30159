//! What the kernel knows about a process: memory, processor time, open files.

use std::{collections::BTreeSet, fs, time::Duration};

/// Clock ticks a second in `/proc/<pid>/stat`: 100 on every Linux there is.
const TICKS_PER_SECOND: u64 = 100;
/// Files of a client that are not browsers: the runtime, phones, reports.
const OTHER_FILES: u64 = 600;

/// Proportional set size in bytes: what this process would give back, shared pages divided among
/// those who share them. `None` if the process is gone or not ours to look at.
pub fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Processor time so far, user and system.
pub fn cpu(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; what follows it does not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The process and those it has started.
pub fn family(pid: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::from([pid]);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok())
    {
        all.extend(family(child));
    }
    all
}

/// Raises the limit of open files as far as allowed, and says how many browsers it is enough for.
pub fn most_browsers() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.map_or(u64::MAX, |most| most.saturating_sub(OTHER_FILES))
}

/// The limit of open files that no process of ours can pass.
pub fn hard_limit_of_files() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Ticks of all processors so far: busy, and all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    busy: u64,
    all: u64,
}

/// The machine's processors as of now.
pub fn machine() -> Machine {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        first.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let all = ticks.iter().sum();
    // Idle, and waiting for a disk.
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Machine { busy: all - idle, all }
}

/// How busy all processors were in between, in percent.
pub fn busy(from: Machine, to: Machine) -> f64 {
    let all = to.all.saturating_sub(from.all).max(1);
    100.0 * to.busy.saturating_sub(from.busy) as f64 / all as f64
}

/// What the kernel keeps for itself in small blocks, sockets above all, and in sockets' buffers, in
/// bytes: of the whole machine.
pub fn kernel_memory() -> u64 {
    let number = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let words = words.iter().rev().find_map(|word| word.parse::<u64>().ok());
        words.unwrap_or_default()
    };
    // The last number of the line is that of TCP's pages.
    number("/proc/meminfo", "Slab:") * 1024 + number("/proc/net/sockstat", "TCP:") * 4096
}
