//! What a run may not exceed, found before it starts: open files, ports, memory.

use std::fs;

use crate::{dialect::Endpoint, proc};

/// Files that an instance of the service keeps for other things than sockets.
const FILES_OF_A_SERVICE: u64 = 1_000;
/// Bytes that a browser which waits costs this machine: service, store, client, and the kernel's two
/// ends of the connection. Generous; `wait` shows what it is.
const BYTES_OF_A_BROWSER: u64 = 24 * 1024;
/// Of the memory that is free, this share may be filled.
const SHARE_OF_MEMORY: f64 = 0.7;
/// Loopback source addresses that are used in turn.
pub const SOURCES: u64 = 240;

/// Browsers that one process may hold.
pub fn browsers_of_a_process() -> u64 {
    proc::most_browsers()
}

/// Browsers that one instance of the service may hold, where the run starts it: it raises its own
/// limit of open files to the same hard one.
pub fn browsers_of_an_instance() -> u64 {
    proc::hard_limit_of_files().saturating_sub(FILES_OF_A_SERVICE).max(1)
}

/// Browsers that one worker of a proxy may hold: each needs two files there, its own and the one to
/// the service; and the kernel does not hand out connections evenly.
pub fn browsers_of_a_proxy_worker() -> u64 {
    (proc::hard_limit_of_files().saturating_sub(FILES_OF_A_SERVICE) / 2 * 3 / 4).max(1)
}

/// Browsers for which this machine has memory, where all parts of a run are on it.
pub fn browsers_of_this_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| (kib as f64 * 1024.0 * SHARE_OF_MEMORY) as u64 / BYTES_OF_A_BROWSER)
}

/// Connections that this machine's ports allow to these servers: so many for each pair of a source
/// address and a server. Loopback has as many source addresses as are wanted.
pub fn browsers_of_all_ports(endpoints: &[Endpoint]) -> u64 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let bounds: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let ports = match bounds[..] {
        [first, last] if last >= first => last - first + 1,
        _ => 28_232,
    };
    endpoints
        .iter()
        .map(|endpoint| if endpoint.is_loopback() { ports * SOURCES } else { ports })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str) -> Endpoint {
        Endpoint { address: address.parse().expect("an address"), host: String::new() }
    }

    #[test]
    fn ports_count_once_per_server_and_source_address() {
        let far = browsers_of_all_ports(&[endpoint("192.0.2.1:80")]);
        assert!(far > 1_000, "{far}");
        assert_eq!(
            browsers_of_all_ports(&[endpoint("192.0.2.1:80"), endpoint("192.0.2.2:80")]),
            2 * far
        );
        assert_eq!(browsers_of_all_ports(&[endpoint("127.0.0.1:80")]), SOURCES * far);
    }

    #[test]
    fn a_proxy_holds_less_than_half_of_what_a_service_does() {
        assert!(2 * browsers_of_a_proxy_worker() < browsers_of_an_instance());
    }
}
