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

use crate::model::driver_spec::DriverKind;
use crate::plan::driver::NetworkDriver;

/// What a driver does.
#[must_use]
pub fn of(kind: DriverKind) -> &'static dyn NetworkDriver {
    match kind {
        DriverKind::Bridge => &bridge::Bridge,
        DriverKind::Veth => &veth::Veth,
        DriverKind::Macvlan => &macvlan::Macvlan,
        DriverKind::Ipvlan => &ipvlan::Ipvlan,
        DriverKind::Vxlan => &vxlan::Vxlan,
    }
}
