//! Elements: where the kernel decides who publishes a port, and who has an address.

use std::fs;
use std::net::IpAddr;

use ocinet_shared::kernel::nft::ChangeError;
use ocinet_shared::model::cidr::Family;
use ocinet_shared::model::container_id::ContainerId;
use ocinet_shared::model::element::Element;
use ocinet_shared::model::port_elements::published;
use ocinet_shared::model::record::Record;
use ocinet_shared::state::{StateDir, StateError};

use super::applier::{Applier, Failure};
use crate::host::conflict;
use crate::host::conflict::Conflict;
use crate::lifecycle::{connections, restore};
use crate::plan::elements;
use crate::state::leases;

impl Applier<'_> {
    pub(super) fn add_elements(&mut self, elements: &[Element]) -> Result<(), Failure> {
        let mut result = self.nft.add(elements);
        if matches!(result, Err(ChangeError::NoTable)) {
            result = restore::add_restored(self.state, &mut self.nft, elements)?;
        }
        // Each family's address may be known already.
        while let Err(ChangeError::Exists(index)) = result
            && let Some(element) = elements.get(index)
            && let Some(address) = element.of_container()
        {
            if let Some(found) = conflict::who_lives_without_lease(address)? {
                return Err(Failure::WithoutLease(Box::new(found)));
            }
            // Nobody who lives has it: it is left of a container that has ended. A start of another state folder that
            // has no link yet is not seen.
            self.nft.delete(std::slice::from_ref(element))?;
            result = self.nft.add(elements);
        }
        self.refuse_taken(result, elements)?;
        match bound_claim(self.state, self.target.id, elements)? {
            Some(taken) => {
                self.nft.delete(elements)?;
                Err(Failure::Conflict(Box::new(taken)))
            }
            None => self.end_unpublished(elements),
        }
    }

    /// Where an element was there already, the failure names the container that has it.
    fn refuse_taken(&mut self, result: Result<(), ChangeError>, elements: &[Element]) -> Result<(), Failure> {
        match result {
            Err(ChangeError::Exists(index)) if index < elements.len() => {
                let element = &elements[index];
                let found = self.nft.get(element)?.map(|found| found.value);
                self.refuse(element, found.as_deref())
            }
            result => Ok(result.map_err(restore::change_error)?),
        }
    }

    /// Names the container that has an element's place. The element may have gone before its holder's lease was looked for.
    pub(super) fn refuse(&mut self, element: &Element, value: Option<&[u8]>) -> Result<(), Failure> {
        let mut taken = conflict::of_element(self.state, element, value);
        taken.is_given_back |= taken.by.is_none() && self.nft.get(element)?.is_none();
        Err(Failure::Conflict(Box::new(taken)))
    }

    /// Sees to the elements of the container, which has become ready, after a flush that came in between.
    ///
    /// # Errors
    /// As [`restore::keep`]; another container that took one of them.
    pub fn keep_elements(&mut self, ready: &Record) -> Result<(), Failure> {
        let elements: Vec<Element> = ready.elements().cloned().collect();
        let kept = restore::keep(self.state, &mut self.nft, &elements)?;
        self.refuse_taken(kept, &elements)
    }

    /// A client that went on sending while nobody published the port has a connection with the host itself by now.
    fn end_unpublished(&mut self, elements: &[Element]) -> Result<(), Failure> {
        let ports = elements::udp_ports(elements.iter());
        Ok(connections::end_in_the_way(&mut self.nft, &mut self.route, &ports)?)
    }
}

/// Whether another container publishes, on one host address, a port that these elements publish on all.
fn bound_claim(
    state: &StateDir,
    id: &ContainerId,
    elements: &[Element],
) -> Result<Option<Conflict>, StateError> {
    for (family, port) in elements.iter().filter_map(published) {
        if port.bound_address().is_some() {
            continue;
        }
        let Ok(claims) = fs::read_dir(state.port_claim_folder(&port)) else { continue };
        for claim in claims.filter_map(Result::ok) {
            let address: Option<IpAddr> = claim.file_name().to_str().and_then(|name| name.parse().ok());
            let concerns = address.is_some_and(|address| Family::of(address) == family);
            if concerns && leases::holder(state, &claim.path())?.is_some_and(|holder| holder != *id) {
                return Ok(Some(conflict::of_claim(state, &port, &claim.path())));
            }
        }
    }
    Ok(None)
}
