use super::*;

fn route(to: &str, link: u32, metric: u32) -> Route {
    Route { metric, ..Route::new(to.parse().unwrap(), Some(link)) }
}

fn links<'a>(routes: impl Iterator<Item = &'a Route>) -> Vec<u32> {
    routes.filter_map(|route| route.link).collect()
}

#[test]
fn the_least_metric_of_the_main_table_is_used() {
    let of_another = Route { table: 52, ..route("0.0.0.0/0", 9, 0) };
    let routes = [
        of_another,
        route("0.0.0.0/0", 2, 200),
        route("0.0.0.0/0", 3, 100),
        route("0.0.0.0/0", 4, 100),
        route("::/0", 5, 0),
    ];
    assert_eq!(links(defaults(&routes, Family::Ipv4)), [3, 4]);
    assert_eq!(links(defaults(&routes, Family::Ipv6)), [5]);
    let closed = Route { leads_nowhere: Some("unreachable"), ..route("0.0.0.0/0", 1, 50) };
    let routes = [routes.to_vec(), vec![closed]].concat();
    assert_eq!(links(defaults(&routes, Family::Ipv4)), [0; 0]);
}

#[test]
fn parts_of_everywhere_lead_out_and_groups_and_sites_do_not() {
    for to in ["0.0.0.0/0", "128.0.0.0/1", "64.0.0.0/2", "8.0.0.0/7", "::/1", "2000::/3"] {
        assert!(route(to, 2, 0).leads_out(), "{to}");
    }
    for to in ["224.0.0.0/4", "ff00::/8", "fc00::/7", "10.0.0.0/8", "fd00::/8"] {
        assert!(!route(to, 2, 0).leads_out(), "{to}");
    }
    let routes = [route("0.0.0.0/0", 2, 0), route("0.0.0.0/1", 7, 0), route("224.0.0.0/4", 8, 0)];
    assert_eq!(links(routes_to_everywhere(&routes, Family::Ipv4)), [2, 7]);
}
