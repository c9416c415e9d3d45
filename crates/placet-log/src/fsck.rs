//! Checking a log; what can be wrong with it is in [`damage`].
pub mod damage;
