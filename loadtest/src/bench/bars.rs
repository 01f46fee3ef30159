//! What each figure must reach, and whether it does.

use super::Row;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At most so much.
    Most(f64),
    /// At most so many times the peer's.
    MostOfPeer(f64),
    /// At least so many times the peer's.
    LeastOfPeer(f64),
}

impl Bar {
    /// The bar and the moonshot of a figure that has them.
    pub fn of(row: Row) -> Option<(Self, Self)> {
        use Bar::{LeastOfPeer, Most, MostOfPeer};
        Some(match row {
            Row::BytesPerSocket => (Most(2048.0), Most(1536.0)),
            Row::AllBytesPerSocket => (Most(3072.0), Most(2300.0)),
            Row::ChurnGrowth => (Most(15.0), Most(5.0)),
            Row::IdleCpu => (Most(1.0), Most(0.4)),
            Row::P50At(1000) => (MostOfPeer(1.0), MostOfPeer(0.65)),
            Row::P99At(1000) => (MostOfPeer(1.0), MostOfPeer(0.5)),
            Row::LoginsPerSecond => (LeastOfPeer(1.2), LeastOfPeer(1.6)),
            Row::AllCpuAt(1000) => (MostOfPeer(0.75), MostOfPeer(0.5)),
            Row::CommandsSent(_) => (Most(7.0), Most(5.0)),
            Row::Notifications(_) => (Most(1.0), Most(1.0)),
            Row::ConnectsPerSecond => (LeastOfPeer(0.9), LeastOfPeer(1.3)),
            Row::ResyncTime => (Most(500.0), Most(150.0)),
            Row::WorstBesideResync => (Most(50.0), Most(50.0)),
            _ => return None,
        })
    }

    /// Whether it is reached by ours, and by its ratio to the peer's; `None` without what it needs.
    pub fn is_met(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        let ours = ours?;
        Some(match self {
            // A thousandth more is the rounding of counts.
            Self::Most(most) => ours <= most * 1.001,
            Self::MostOfPeer(most) => ratio? <= most,
            Self::LeastOfPeer(least) => ratio? >= least,
        })
    }

    /// As it stands in the table.
    pub fn text(self) -> String {
        match self {
            Self::Most(most) => format!("<= {most}"),
            Self::MostOfPeer(most) => format!("<= {most}x"),
            Self::LeastOfPeer(least) => format!(">= {least}x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_or_missed_or_cannot_be_told() {
        let (most, least) = (Bar::MostOfPeer(0.75), Bar::LeastOfPeer(1.2));
        assert_eq!(most.is_met(Some(0.3), Some(0.75)), Some(true));
        assert_eq!(most.is_met(Some(0.31), Some(0.77)), Some(false));
        assert_eq!(most.is_met(Some(0.3), None), None);
        assert_eq!(least.is_met(Some(12.0), Some(1.2)), Some(true));
        assert_eq!(least.is_met(Some(11.0), Some(1.1)), Some(false));
        assert_eq!(Bar::Most(7.0).is_met(Some(7.003), None), Some(true));
        assert_eq!(Bar::Most(7.0).is_met(None, None), None);
    }
}
