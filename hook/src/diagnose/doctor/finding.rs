//! What a check finds.

/// Something that keeps packets from arriving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What is amiss.
    pub(crate) what: String,
    /// What follows from it.
    pub(crate) why: String,
    /// The commands for a shell that mend it, one after the other.
    pub(crate) mend: Vec<String>,
}

impl Finding {
    /// A finding that one command fixes.
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), mend: vec![mend.into()] }
    }
}

/// What one command mends is told once.
pub(super) fn add(findings: &mut Vec<Finding>, finding: Finding) {
    if !findings.iter().any(|other| other.mend == finding.mend) {
        findings.push(finding);
    }
}
