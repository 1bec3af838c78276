//! What each driver does, one file a driver.
//!
//! `routed.rs` is what the drivers have in common whose containers the host is the router of, `lan.rs` those that put
//! containers on a LAN beside the host.

mod bridge;
mod ipvlan;
mod lan;
mod macvlan;
pub mod routed;
pub mod standalone;
mod veth;
mod vxlan;

use crate::input::request::DriverRequest;
use crate::plan::driver::NetworkDriver;

/// The driver that a request asks for: what it does, and what it is told.
#[must_use]
pub fn of(request: &DriverRequest) -> &dyn NetworkDriver {
    match request {
        DriverRequest::Bridge(asked) => asked,
        DriverRequest::Veth(asked) => asked,
        DriverRequest::Macvlan(asked) => asked,
        DriverRequest::Ipvlan(asked) => asked,
        DriverRequest::Vxlan(asked) => asked,
    }
}
