//! What both of ocinet's programs need.
//!
//! The rooms, from the top. A room uses rooms below it; `tests/src/rooms.rs` holds that.
//!
//! | room | holds |
//! |---|---|
//! | `state/` | the state folder: its layout, its locks, how its files are read and written |
//! | `kernel/` | netlink, nfnetlink, namespaces, sysctls, filters: the only code that touches the kernel |
//! | `model/` | types that both programs share, and the forms of the files that are written |
//! | `one_line.rs` `quoted.rs` | texts and commands that quote what came from outside |
//! | `small_file.rs` | files that others write, opened without a wait and read with bounds |
//!
//! Nothing here reads an annotation or a configuration file.

pub mod kernel;
pub mod model;
pub mod one_line;
pub mod quoted;
pub mod small_file;
pub mod state;
