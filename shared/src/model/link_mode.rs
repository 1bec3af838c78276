//! The modes of links on top of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! modes {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident = $first_text:literal, $($(#[$mode_doc:meta])* $mode:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $($(#[$mode_doc])* $mode,)*
        }

        impl $name {
            /// The words for all modes; the first is the default.
            pub const NAMES: &[&str] = &[$first_text, $($text),*];
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $first_text => Ok(Self::$first),
                    $($text => Ok(Self::$mode),)*
                    _ => Err(()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { Self::$first => $first_text, $(Self::$mode => $text,)* })
            }
        }
    };
}

modes! {
    /// Whom a macvlan reaches on its parent (ip-link(8)).
    MacvlanMode {
        /// The others on the parent directly.
        Bridge = "bridge",
        /// None of the others on the parent.
        Private = "private",
        /// The others through a switch that reflects frames.
        Vepa = "vepa",
        /// It has the parent for itself.
        Passthru = "passthru",
    }
}

modes! {
    /// At which layer an ipvlan hands packets to its parent (ip-link(8)).
    IpvlanMode {
        /// Ethernet, with ARP and broadcasts.
        L2 = "l2",
        /// IP routing by the parent's namespace.
        L3 = "l3",
        /// The same, seen by that namespace's netfilter.
        L3s = "l3s",
    }
}
