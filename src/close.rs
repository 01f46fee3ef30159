//! The close codes of the JSON protocol: the table that clients are written from (spec 2.3).

/// Why a socket is closed by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// Token delivered, or cancelled.
    Done,
    /// Against the rules of the plain protocol.
    Policy,
    /// A frame over 4 KiB.
    TooBig,
    /// Store away for longer than the login can wait, or an internal failure.
    Failure,
    /// This instance restarts, or nobody has acknowledged the token: it can be had again.
    Restart,
    /// The deadline has passed.
    Expired,
    /// Declined on the phone.
    Denied,
    /// Another socket resumed the same login.
    TakenOver,
    /// Malformed message, or a flood.
    Malformed,
}

/// Whether and how a client should come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not at all.
    No,
    /// By itself, with growing pauses.
    BackOff,
    /// By itself at once plus jitter, with `resume`; after five resumes of an approved login every 10 s.
    Resume,
    /// With a new login, when the user asks for it.
    OnClick,
}

impl Close {
    /// Every row of the table.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Policy,
        Self::TooBig,
        Self::Failure,
        Self::Restart,
        Self::Expired,
        Self::Denied,
        Self::TakenOver,
        Self::Malformed,
    ];

    /// The number on the wire of the JSON protocol.
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Failure => 1011,
            Self::Restart => 1012,
            Self::Expired => 4000,
            Self::Denied => 4001,
            Self::TakenOver => 4002,
            Self::Malformed => 4003,
        }
    }

    /// The number on the wire of the plain protocol, whose clients know nothing of the 4000s.
    pub const fn plain_code(self) -> u16 {
        match self {
            Self::Done | Self::Expired | Self::Denied | Self::TakenOver => 1000,
            Self::Policy | Self::Malformed => 1008,
            Self::TooBig => 1009,
            Self::Failure => 1011,
            Self::Restart => 1012,
        }
    }

    /// Whether the plain protocol says `again` before it closes so: wherever the browser kept the
    /// rules and has no token.
    pub const fn plain_again(self) -> bool {
        matches!(self, Self::Expired | Self::Denied | Self::Failure | Self::Restart)
    }

    /// What the client should do.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Done | Self::Policy | Self::TooBig | Self::TakenOver | Self::Malformed => {
                Retry::No
            }
            Self::Failure => Retry::BackOff,
            Self::Restart => Retry::Resume,
            Self::Expired | Self::Denied => Retry::OnClick,
        }
    }

    /// For people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "token delivered, or cancelled",
            Self::Policy => "policy",
            Self::TooBig => "frame over 4 KiB",
            Self::Failure => {
                "store away for longer than the login can wait, or an internal failure"
            }
            Self::Restart => "instance restarts, or the token was not acknowledged",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::TakenOver => "taken over by another socket of the same login",
            Self::Malformed => "malformed message, or a flood",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_meanings_fit_a_control_frame() {
        let mut codes: Vec<_> = Close::ALL.iter().map(|close| close.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Close::ALL.len());
        // RFC 6455 section 5.5: 125 bytes, two of them the code.
        assert!(Close::ALL.iter().all(|close| close.meaning().len() <= 123));
    }
}
