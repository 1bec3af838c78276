//! Containers that look names up, and have nobody to ask.

use std::path::Path;

use ocinet_shared::model::cidr::{Cidr, Family};
use ocinet_shared::model::record::Record;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::error::Error;
use crate::host::name_servers::{Answer, name_servers};
use crate::input::oci_bundle::OciBundle;
use crate::lifecycle::apply::names;
use crate::lifecycle::apply::names::NAME_ONE;

/// Containers without a name server, where the host has none that they could ask.
pub(super) fn servers(context: &mut DoctorContext) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for record in &context.records {
        let Ok(bundle) = OciBundle::read(Path::new(&record.bundle)) else { continue };
        if name_servers(&context.config, &families(context, record))? != Answer::Nobody
            || names::has_name_server(record, &bundle) != Some(false)
        {
            continue;
        }
        findings.push(Finding::new(
            format!("container {} has no name server", record.id),
            "the host has none that it could ask, and its etc/resolv.conf names none: it looks up no name",
            format!("# {NAME_ONE}, and start container {} anew", record.id),
        ));
    }
    Ok(findings)
}

/// Those of the networks that lead out.
fn families(context: &DoctorContext, record: &Record) -> Vec<Family> {
    let leads_out = |network: &str| {
        !context.networks.iter().any(|known| known.name.as_str() == network && known.internal)
    };
    let attachments = record.attachments.iter().filter(|attachment| leads_out(attachment.network.as_str()));
    attachments.flat_map(|attachment| attachment.addresses.iter().map(Cidr::family)).collect()
}
