//! The page for people, in headless Chromium.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ocinet_tests::lab::{DUAL, HOST4, Lab};

/// A name that would run a script, break out of an attribute and turn the text around where it is not escaped.
const HOSTILE: &str =
    "\"><img src=x onerror=document.title='owned'><script>document.title='owned'</script>\u{202e}";

/// Opens the page for a while, and returns what it has become or draws it into a file.
fn chromium(lab: &Lab, output: &[&str]) -> String {
    let profile = format!("--user-data-dir={}", lab.dir().join("chromium").display());
    let mut words = vec![
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        // The page's time runs ahead while nothing is loaded.
        "--virtual-time-budget=12000",
        &profile,
    ];
    words.extend(output);
    words.push("http://127.0.0.1:9477/");
    lab.host.ok(&words)
}

#[test]
#[ignore = "needs root"]
fn the_page_shows_containers_and_rates_that_move() {
    let lab = Lab::new();
    let ports = ("net.ports", "8080:80,127.0.0.1:5353:53/udp");
    let web = lab.attach("web", &[("net.subnet", DUAL), ports, ("ocinet.image", "docker.io/library/nginx")]);
    let _other = lab.attach("other", &[("net.subnet", DUAL)]);
    let path = lab.state_dir().join("containers/web.json");
    let honest = lab.dir().join("web.json");
    fs::copy(&path, &honest).unwrap();
    let mut record = web.record.clone();
    record["labels"] = serde_json::json!({"name": HOSTILE, "image": HOSTILE, "pod": null});
    fs::write(&path, record.to_string()).unwrap();
    let exporter = lab.exporter(&[]);
    let still = exporter.get("/").body;
    let busy = AtomicBool::new(true);
    let sink = web.net.bind(|| TcpListener::bind("[::]:80"));
    let (moved, picture) = thread::scope(|scope| {
        let (busy, lab) = (&busy, &lab);
        scope.spawn(move || {
            while busy.load(Ordering::Relaxed) {
                let Ok((mut client, _)) = sink.accept() else { return };
                let _ = std::io::copy(&mut client.by_ref().take(1 << 20), &mut std::io::sink());
            }
        });
        scope.spawn(move || feed(lab, busy));
        let moved = chromium(lab, &["--dump-dom"]);
        // As ocinet puts a record into its place.
        fs::rename(&honest, &path).unwrap();
        let picture = lab.dir().join("page.png");
        let file = format!("--screenshot={}", picture.display());
        chromium(lab, &[&file, "--window-size=1200,900"]);
        busy.store(false, Ordering::Relaxed);
        (moved, fs::read(picture).unwrap_or_default())
    });
    for page in [&still, &moved] {
        for shown in [
            "8080 → 80/tcp",
            "127.0.0.1:5353 → 53/udp",
            "10.90.",
            "fd00:90::",
            "bridge on default",
            ">other<",
        ] {
            assert!(page.contains(shown), "{shown}\n{page}");
        }
        assert!(!page.contains("<img") && !page.contains("owned</title>"), "{page}");
        assert!(page.contains("onerror=document.title"), "the name is shown as it is");
    }
    let rates = |page: &str| page.matches("B/s</b>").count();
    assert_eq!(rates(&still), 0);
    assert!(rates(&moved) >= 4, "{moved}");
    assert!(moved.contains("id=\"state\" role=\"status\" class=\"\">live, "), "{moved}");
    let line = moved.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    assert!(line.split(' ').count() > 1, "a line is drawn: {line:?}");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000);
    keep(&picture);
}

/// Sends to the published port until it is enough.
fn feed(lab: &Lab, busy: &AtomicBool) {
    use std::io::Write as _;
    let target = std::net::SocketAddr::new(HOST4, 8080);
    while busy.load(Ordering::Relaxed) {
        let stream = lab.peer.within(|| std::net::TcpStream::connect_timeout(&target, crate::PATIENCE));
        let Ok(mut stream) = stream else { continue };
        let _ = stream.write_all(&[7; 200_000]);
    }
    // One more, so that whoever waits for a client sees that it is enough.
    let _ = lab.peer.within(|| std::net::TcpStream::connect_timeout(&target, crate::PATIENCE));
}

/// Where OCINET_KEEP names a folder, the picture is kept for the README.
fn keep(picture: &[u8]) {
    if let Some(folder) = std::env::var_os("OCINET_KEEP") {
        fs::write(Path::new(&folder).join("page.png"), picture).unwrap();
    }
}
