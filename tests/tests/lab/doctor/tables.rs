//! What others did to ocinet's own tables.

use super::Ward;

/// `reload --if-missing`, which a timer runs, fixes it without a person.
#[track_caller]
fn fixes_itself(ward: &Ward) {
    let _ = ward.lab.run(&["reload", "--if-missing"], "").ok();
    ward.is_sound();
    assert_eq!(ward.lab.run(&["check"], "").ok(), "everything is as recorded\n");
}

#[track_caller]
fn check_says(ward: &Ward, says: &str) {
    let said = ward.lab.run(&["check"], "");
    assert!(said.code == 1 && said.stdout.contains(says), "{}: {}{}", said.code, said.stdout, said.stderr);
}

#[test]
#[ignore = "needs root"]
fn a_table_that_was_put_to_sleep() {
    for by_doctor in [true, false] {
        let ward = Ward::new("bridge");
        ward.lab.host.ok(&["nft", "add table inet ocinet { flags dormant; }"]);
        ward.is_silent(false);
        check_says(&ward, "table inet ocinet is dormant");
        let fix = ward.finds("table inet ocinet is dormant");
        if by_doctor {
            ward.fix(&fix);
        } else {
            fixes_itself(&ward);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn rules_and_policies_of_others_in_ocinets_chains() {
    let six = "add rule inet ocinet publish counter\n".repeat(6);
    for (commands, says) in [
        ("insert rule inet ocinet publish drop", "chain publish of table inet ocinet has other rules"),
        (
            "insert rule inet ocinet forward counter drop",
            "chain forward of table inet ocinet has other rules",
        ),
        ("add rule bridge ocinet prerouting drop", "chain prerouting of table bridge ocinet has other rules"),
        (
            "chain inet ocinet forward { policy drop; }",
            "chain forward of table inet ocinet drops what no rule decides",
        ),
        (
            &format!("flush chain inet ocinet publish\n{six}"),
            "chain publish of table inet ocinet has other rules",
        ),
    ] {
        let ward = Ward::new("bridge");
        ward.lab.host.ok(&["nft", commands]);
        check_says(&ward, says);
        let fix = ward.finds(says);
        assert_eq!(fix, ["ocinet reload"]);
        ward.fix(&fix);
        ward.lab.host.ok(&["nft", commands]);
        fixes_itself(&ward);
    }
}

/// It is somebody else's: only a person deletes it.
#[test]
#[ignore = "needs root"]
fn a_chain_of_others_in_ocinets_table() {
    let ward = Ward::new("bridge");
    let host = &ward.lab.host;
    host.ok(&["nft", "add chain inet ocinet watch { type filter hook forward priority 10; }"]);
    host.ok(&["nft", "add rule inet ocinet watch counter"]);
    ward.is_sound();
    // A map of verdicts decides, too.
    host.ok(&[
        "nft",
        "add chain inet ocinet mapped { type filter hook forward priority 10; }; \
         add rule inet ocinet mapped ct state vmap { new : drop }",
    ]);
    ward.is_silent(false);
    check_says(&ward, "chain mapped of table inet ocinet is not ocinet's, and decides about packets");
    host.ok(&["nft", "delete chain inet ocinet mapped"]);
    ward.is_sound();
    host.ok(&["nft", "add chain inet ocinet mine { type filter hook forward priority 10; policy drop; }"]);
    ward.is_silent(false);
    let says = "chain mine of table inet ocinet is not ocinet's";
    check_says(&ward, &format!("{says}, and decides about packets: `nft delete chain inet ocinet mine`"));
    let _ = ward.lab.run(&["reload", "--if-missing"], "").ok();
    let _ = ward.lab.run(&["reload"], "").ok();
    let fix = ward.finds(says);
    assert_eq!(fix, ["nft delete chain inet ocinet mine"]);
    ward.fix(&fix);
    assert!(host.ok(&["nft", "list", "chain", "inet", "ocinet", "watch"]).contains("priority"));
}

#[test]
#[ignore = "needs root"]
fn a_table_that_others_made_first() {
    let ward = Ward::new("bridge");
    let host = &ward.lab.host;
    host.ok(&["nft", "flush ruleset; add table inet ocinet { flags dormant; }"]);
    fixes_itself(&ward);
    host.ok(&[
        "nft",
        "flush ruleset; add table inet ocinet; add set inet ocinet sent4 { type ipv4_addr; flags interval; }",
    ]);
    ward.is_silent(false);
    let refused = ward.lab.run(&["reload"], "");
    assert_eq!(refused.code, 6, "{}", refused.stderr);
    let hint = "run `nft delete table inet ocinet; ocinet reload`";
    assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    let fix = ward.finds(" of table inet ocinet lacks rules");
    assert_eq!(fix[..2], ["nft delete table inet ocinet", "ocinet reload"]);
    ward.fix(&fix);
}
