//! What a check finds.

/// Something that keeps packets from arriving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What is wrong.
    pub(crate) what: String,
    /// What follows from it.
    pub(crate) why: String,
    /// The commands for a shell that fix it, one after the other.
    pub(crate) fix: Vec<String>,
}

impl Finding {
    /// A finding that one command fixes.
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), fix: vec![fix.into()] }
    }
}

/// What one command fixes is told once.
pub(super) fn add(findings: &mut Vec<Finding>, finding: Finding) {
    if !findings.iter().any(|other| other.fix == finding.fix) {
        findings.push(finding);
    }
}
