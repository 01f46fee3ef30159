//! The gauge of the feeds: several threads listen to one node, and one that is deaf counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use prometheus::GaugeVec;

/// 1 for each node that all expected lines listen to, else 0.
pub struct Lines {
    gauge: GaugeVec,
    expected: AtomicUsize,
    up: Mutex<BTreeMap<String, BTreeSet<usize>>>,
}

impl Lines {
    pub(super) fn new(gauge: GaugeVec) -> Self {
        Self { gauge, expected: AtomicUsize::new(1), up: Mutex::default() }
    }

    /// How many lines make a 1.
    pub fn expect_lines(&self, lines: usize) {
        self.expected.store(lines, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<usize>>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This line listens to this node.
    pub fn up(&self, node: &str, line: usize) {
        let mut up = self.lock();
        let lines = up.entry(node.to_owned()).or_default();
        lines.insert(line);
        self.show(node, lines.len());
    }

    /// It does not, any more.
    pub fn down(&self, node: &str, line: usize) {
        let mut up = self.lock();
        let lines = up.entry(node.to_owned()).or_default();
        lines.remove(&line);
        self.show(node, lines.len());
    }

    /// For this line, the node is none of ours any more.
    pub fn forget(&self, node: &str, line: usize) {
        let mut up = self.lock();
        let left = up.get_mut(node).map(|lines| {
            lines.remove(&line);
            lines.len()
        });
        match left {
            Some(left) if left > 0 => self.show(node, left),
            // Absent where another line has forgotten it already.
            _ => {
                up.remove(node);
                let _ = self.gauge.remove_label_values(&[node]);
            }
        }
    }

    fn show(&self, node: &str, up: usize) {
        let all = up >= self.expected.load(Ordering::Relaxed);
        self.gauge.with_label_values(&[node]).set(if all { 1.0 } else { 0.0 });
    }
}
