//! Real processes on this machine, joined by links that can be cut.
