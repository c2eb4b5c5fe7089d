//! A strict stand-in for the service on a loopback port.
