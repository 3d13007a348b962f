//! Several collectors, the servers they share, and many agents at once.

mod crash;
mod servers;
mod stack;
