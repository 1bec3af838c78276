//! A bridge with forwarding, and nothing else: what the kernel takes for a packet.

use std::path::Path;

use ocinet_tests::lab::{Netns, command};

use crate::tool::{Container, Step, StepOf, Tool};

pub struct Plain;

impl Tool for Plain {
    fn name(&self) -> String {
        "plain".to_owned()
    }

    fn prefix(&self) -> &'static str {
        "10.89"
    }

    fn is_translated(&self) -> bool {
        false
    }

    fn prepare(&self, host: &Netns, _: &Path) {
        host.batch(
            "link add plain0 type bridge stp_state 0 forward_delay 0\nlink set plain0 up\naddr add 10.89.0.1/16 dev plain0\n\
             addr add fd00:89::1/64 dev plain0 nodad\n",
        );
    }

    fn up(&self, _: &Path, container: &Container, _: &str) -> Vec<StepOf> {
        let (link, netns) = (format!("pl-{}", container.number), container.netns());
        let addresses = container.addresses(self.prefix());
        let [ipv4, ipv6] = addresses.as_slice() else { panic!("{addresses:?}") };
        let inside = format!(
            "addr add {ipv4}/16 dev eth0\naddr add {ipv6}/64 dev eth0 nodad\nlink set eth0 up\nroute add default via 10.89.0.1\n\
             route add ::/0 via fd00:89::1\n"
        );
        let make = move |_: &str| {
            let mut ip = command("ip");
            ip.args(["-batch", "-"]);
            let input = format!(
                "link add {link} type veth peer name eth0 netns {netns}\nlink set {link} master plain0 up\n"
            );
            Step { command: ip, input }
        };
        let netns = container.netns();
        let configure = move |_: &str| {
            let mut nsenter = command("nsenter");
            nsenter.arg(format!("--net={netns}")).args(["ip", "-batch", "-"]);
            Step { command: nsenter, input: inside.clone() }
        };
        vec![Box::new(make), Box::new(configure)]
    }

    fn down(&self, _: &Path, _: &Container, _: &str) -> Vec<StepOf> {
        Vec::new()
    }
}
