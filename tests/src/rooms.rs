//! The rooms of each crate are in order: a room uses rooms below it, never one above. ARCHITECTURE.md draws the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of a crate from the top, each line from left to right. Rooms of one line do not use each other.
struct House {
    folder: &'static str,
    rooms: &'static [&'static [&'static str]],
}

const HOUSES: [House; 3] = [
    House {
        folder: "hook/src",
        rooms: &[
            &["commands"],
            &["diagnose"],
            &["lifecycle"],
            &["host"],
            &["policy"],
            &["plan"],
            &["input"],
            &["state"],
            &["model"],
            &["error", "log", "cli"],
        ],
    },
    House {
        folder: "exporter/src",
        rooms: &[&["cli"], &["http"], &["render"], &["scrape"], &["error", "log"]],
    },
    House {
        folder: "shared/src",
        rooms: &[&["state"], &["kernel"], &["model"], &["quoted", "small_file"], &["one_line"]],
    },
];

/// A file of a crate: the modules that its path names, and the paths of the crate that it names.
struct File {
    module: Vec<String>,
    uses: BTreeSet<Vec<String>>,
}

impl File {
    fn read(folder: &Path, path: &Path) -> Self {
        let inside = path.strip_prefix(folder).expect("a file of the crate").with_extension("");
        let mut module: Vec<String> =
            inside.iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
        module.retain(|part| !matches!(part.as_str(), "mod" | "lib" | "main"));
        let text = fs::read_to_string(path).expect("read a file");
        let code = code(&text);
        let mut uses = paths(&code, &module);
        uses.extend(children(&code).map(|child| [&module[..], &[child.to_owned()]].concat()));
        Self { module, uses }
    }

    fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// A file's text without lines of comment and the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths that begin with `crate` or `super`, as paths of the crate.
fn paths(code: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::new();
    for (at, head) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
            continue;
        }
        let mut base = match head {
            "crate::" => Vec::new(),
            _ => module[..module.len().saturating_sub(1)].to_vec(),
        };
        let mut rest = &code[at + head.len()..];
        while let Some(further) = rest.strip_prefix("super::") {
            base.pop();
            rest = further;
        }
        collect(rest, &base, &mut all);
    }
    all
}

/// The modules that a file declares and names.
fn children(code: &str) -> impl Iterator<Item = &str> {
    let declared = code.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.filter(|child| {
        code.contains(&format!(" {child}::"))
            || code.contains(&format!("({child}::"))
            || code.contains(&format!("self::{child}::"))
    })
}

/// Reads `a::b`, `a::{b, c::d}` and what is nested in it; returns what is behind it.
fn collect<'a>(text: &'a str, base: &[String], all: &mut BTreeSet<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
            let next = collect(rest, base, all).trim_start();
            let next = next.strip_prefix(',').unwrap_or(next);
            if next.len() == rest.len() {
                return next;
            }
            rest = next;
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = base.to_vec();
    path.push(name.to_owned());
    if let Some(deeper) = rest.strip_prefix("::") {
        return collect(deeper, &path, all);
    }
    if name == "self" {
        path.pop();
    }
    all.insert(path);
    // `as NAME`
    match rest.strip_prefix(" as ") {
        Some(alias) => alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => rest,
    }
}

fn files(folder: &Path) -> Vec<File> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("read a folder").map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !is_test(path.strip_prefix(folder).expect("inside"))
            {
                files.push(File::read(folder, &path));
            }
        }
    }
    files
}

/// Files that only tests have: `tests.rs`, a folder `tests`, and `properties.rs`, which is a test, too.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests") || path.ends_with("tests.rs") || path.ends_with("properties.rs")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").to_owned()
}

#[test]
fn a_room_uses_rooms_below_it_alone() {
    let mut wrong = Vec::new();
    for House { folder, rooms } in HOUSES {
        let level: BTreeMap<&str, usize> = rooms
            .iter()
            .enumerate()
            .flat_map(|(level, row)| row.iter().map(move |room| (*room, level)))
            .collect();
        for file in files(&root().join(folder)) {
            let Some(room) = file.room() else { continue };
            let Some(own) = level.get(room) else {
                wrong.push(format!("{folder}/{room} is no room of the order"));
                continue;
            };
            for used in &file.uses {
                let to = used[0].as_str();
                if to != room && level.get(to).is_some_and(|other| other <= own) {
                    wrong.push(format!("{folder}/{}: {}", file.module.join("/"), used.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} arrows lead up:\n{}", wrong.len(), wrong.join("\n"));
}

/// The files that each file names, by their modules. A path leads to the file of its longest beginning.
fn arrows(files: &[File]) -> BTreeMap<&[String], BTreeSet<&[String]>> {
    let modules: BTreeSet<&[String]> = files.iter().map(|file| file.module.as_slice()).collect();
    let file_of = |path: &[String]| (0..=path.len()).rev().find_map(|end| modules.get(&path[..end]).copied());
    let of_file = |file: &'_ File| file.uses.iter().filter_map(|path| file_of(path)).collect::<BTreeSet<_>>();
    files.iter().map(|file| (file.module.as_slice(), of_file(file))).collect()
}

/// The files that are reached from a file by one arrow or several.
fn reached<'a>(
    arrows: &BTreeMap<&'a [String], BTreeSet<&'a [String]>>,
    from: &[String],
) -> BTreeSet<&'a [String]> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&[String]> = arrows[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(&arrows[file]);
        }
    }
    reached
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for House { folder, .. } in HOUSES {
        let files = files(&root().join(folder));
        assert!(files.len() > 20, "{folder} has {} files", files.len());
        let arrows = arrows(&files);
        let mut known = BTreeSet::new();
        for file in arrows.keys() {
            let back = |other: &&[String]| reached(&arrows, other).contains(file);
            let circle: BTreeSet<&[String]> = reached(&arrows, file).into_iter().filter(back).collect();
            if circle.len() > 1 && known.insert(circle.clone()) {
                let names: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
                wrong.push(format!("{folder}: {}", names.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "circles of imports:\n{}", wrong.join("\n"));
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("read the page")
}

#[test]
fn the_picture_in_the_page_has_the_rooms_of_this_order() {
    let page = page("ARCHITECTURE.md");
    let picture =
        page.split("```mermaid").nth(1).and_then(|rest| rest.split("```").next()).expect("a picture");
    for House { folder, rooms } in HOUSES {
        let part = picture.split(&format!("[\"{folder}\"]")).nth(1).expect("a part for the crate");
        let part = part.split("end\n").next().expect("the part's end");
        let drawn: Vec<&str> =
            part.split("[\"").skip(1).filter_map(|rest| rest.split("\"]").next()).collect();
        let wanted: Vec<String> = rooms.iter().map(|row| row.join(", ")).collect();
        assert_eq!(drawn, wanted, "{folder}");
    }
}

#[test]
fn every_file_that_the_pages_for_contributors_name_is_there() {
    let places = ["", "hook/src", "shared/src", "exporter/src", "shared/src/kernel", "tests"];
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let page = page(name);
        let words = page.split('`').skip(1).step_by(2);
        let is_file = |word: &&str| {
            word.contains('/') && [".rs", ".nft", ".md", ".txt"].iter().any(|end| word.ends_with(end))
        };
        let is_there = |word: &str| places.iter().any(|place| root().join(place).join(word).exists());
        // NAME stands for what the reader adds.
        let missing: Vec<&str> =
            words.filter(is_file).filter(|word| !word.contains("NAME") && !is_there(word)).collect();
        assert!(missing.is_empty(), "{name} names files that are not there: {missing:?}");
    }
}
