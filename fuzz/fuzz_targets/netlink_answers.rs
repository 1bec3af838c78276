//! What the kernel answers, and what a broken answer could be: nothing is read beyond its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinet_shared::kernel::raw::{Attributes, Messages};
use ocinet_shared::kernel::{conntrack, counters};
use ocinet_shared::kernel::nft::listing;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    for message in Messages::new(bytes) {
        assert!(message.payload.len() < bytes.len());
        read(message.payload);
    }
});

fn read(payload: &[u8]) {
    let within: usize = Attributes::new(payload).map(|(_, value)| 4 + value.len()).sum();
    assert!(within <= payload.len());
    let _ = counters::host_answer(payload);
    let _ = counters::inside_answer(payload);
    conntrack::answer(payload, &mut Vec::new());
    let _ = listing::table_answer(payload);
    assert!(listing::elements_answer(payload).count() <= payload.len() / 4);
}
