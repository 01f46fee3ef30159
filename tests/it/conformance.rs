//! One suite for both stores: the same calls must have the same results.
