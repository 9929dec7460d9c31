// After the page's own script, in a frame: use the page, and send what was seen to the frame's page.
window.onload = async () => {
  const wait = () => new Promise((go) => setTimeout(go, 300));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const ink = () => {
    const canvas = all("#gallery canvas")[1];
    return canvas.getContext("2d").getImageData(0, 0, 160, 160).data.reduce((s, v) => s + v, 0);
  };
  const choose = async (list, value) => {
    list.value = value;
    list.dispatchEvent(new Event("change"));
    await wait();
  };
  await wait();
  const page = document.documentElement;
  const seen = { width: innerWidth, needed: page.scrollWidth, heading: all("h1")[0].textContent };
  seen.points = all("#chart-gmacs .point").length;
  seen.bars = all("#chart-gmacs .bar").length;
  seen.legend = all("#legend span").map((entry) => entry.textContent);
  seen.rows = all("#table tbody tr").length;
  seen.first = all("#table tbody tr:first-child td").map((cell) => cell.textContent);
  seen.choices = all("#choices select").map((list) => [...list.options].map((o) => o.text));
  seen.pictures = [];
  const seed = document.getElementById("seed");
  for (const schedule of ["geometric", "linear"]) {
    await choose(all("#choices select")[1], schedule);
    for (const option of [...seed.options].map((o) => o.value)) {
      await choose(seed, option);
      const cost = document.getElementById("cost").textContent;
      seen.pictures.push([schedule, option, cost.split(",")[0], ink()]);
    }
  }
  await choose(document.getElementById("color"), '["schedule"]');
  seen.recolored = all("#legend span").map((entry) => entry.textContent);
  seen.errors = window.errors;
  parent.postMessage(JSON.stringify(seen), "*");
};
