// Reads the page again every few seconds, shows what it says now, and works out rates from what has been counted between.
'use strict';
(() => {
  const PERIOD = 3000, KEPT = 60;
  const trends = new Map();
  const main = (page) => page.querySelector('main');
  const counted = (page) => ({
    time: Number(main(page).dataset.time),
    values: new Map([...page.querySelectorAll('[data-key]')].map((cell) => [cell.dataset.key, Number(cell.dataset.count)])),
  });
  let before = counted(document);

  const human = (rate) => {
    const units = ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s'];
    let unit = 0;
    while (rate >= 999.5 && unit < units.length - 1) { rate /= 1000; unit += 1; }
    return `${rate >= 99.5 || unit === 0 ? Math.round(rate) : rate.toPrecision(rate >= 9.95 ? 3 : 2)} ${units[unit]}`;
  };

  // A counter that is new, or that began again, has no rate yet.
  const rate = (now, key) => {
    const seconds = (now.time - before.time) / 1000;
    const grown = now.values.get(key) - before.values.get(key);
    return seconds > 0 && grown >= 0 ? grown / seconds : undefined;
  };

  const line = (svg, values) => {
    const most = Math.max(...values, 1);
    const points = values.map((value, at) => `${(at + KEPT - values.length) * 100 / (KEPT - 1)},${20 - 20 * value / most}`);
    svg.querySelector('polyline').setAttribute('points', points.join(' '));
  };

  const fill = (page, now) => {
    const sums = { in: 0, out: 0 };
    for (const cell of page.querySelectorAll('[data-key]')) {
      const found = rate(now, cell.dataset.key);
      if (found === undefined) continue;
      cell.querySelector('b').textContent = human(found);
      if (cell.dataset.sum) sums[cell.dataset.sum] += found;
    }
    for (const tile of page.querySelectorAll('[data-total]')) tile.textContent = human(sums[tile.dataset.total]);
    const seen = new Set();
    for (const svg of page.querySelectorAll('svg.line')) {
      const id = svg.dataset.id, trend = trends.get(id) ?? [];
      const both = (rate(now, `${id} in`) ?? 0) + (rate(now, `${id} out`) ?? 0);
      trends.set(id, [...trend, both].slice(-KEPT));
      line(svg, trends.get(id));
      seen.add(id);
    }
    for (const id of trends.keys()) if (!seen.has(id)) trends.delete(id);
  };

  const refresh = async () => {
    const state = document.getElementById('state');
    try {
      const answer = await fetch(location.href, { cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const now = counted(page);
      fill(page, now);
      before = now;
      state.className = '';
      state.textContent = `live, ${new Date(now.time).toLocaleTimeString()}`;
      // Whoever is selecting something keeps it.
      if (getSelection().isCollapsed) main(document).replaceWith(document.adoptNode(main(page)));
    } catch (error) {
      state.className = 'late';
      state.textContent = `no answer since ${new Date(before.time).toLocaleTimeString()}`;
    }
  };

  const again = async () => {
    if (!document.hidden) await refresh();
    setTimeout(again, PERIOD);
  };
  setTimeout(again, 1000);
})();
