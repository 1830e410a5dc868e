// The nodes, who follows whom, and how far behind.

import { make } from "./dom.js";
import { bytes, counted, duration, short } from "./words.js";

// One segment of WAL, and a minute: what `aya status` calls too far.
const LATE_BYTES = 16 * 1024 * 1024;
const LATE_SECONDS = 60;

/** Fill `place` with the nodes of a status, and those elsewhere that they know of. */
export function showNodes(place, status) {
  const nodes = [...status.nodes, ...elsewhere(status.nodes)];
  const primary = nodes.find((node) => node.role === "primary" && node.health !== "down");
  const followers = nodes.filter((node) => node !== primary);
  const left = primary ? card(primary) : make("p", { className: "node" }, "No primary answers.");
  place.classList.toggle("alone", followers.length === 0);
  const right = make("div", { className: "followers" });
  const leader = primary?.name ?? "the primary";
  right.append(...followers.map((node) => make("div", { className: "follower" }, link(node, leader), card(node))));
  place.replaceChildren(...(followers.length ? [left, right] : [left]));
}

// What the nodes of this machine know of those on others: a watchdog of its partner, AIR of its primary.
function elsewhere(nodes) {
  const known = new Set(nodes.map((node) => node.name));
  const partners = nodes.map((node) => node.failover?.partner).filter((one) => one && !known.has(one.name));
  const found = partners.map((one) => ({ name: one.name, role: one.role ?? "not heard", heard: one }));
  const copy = nodes.find((node) => node.sync);
  if (copy && ![...nodes, ...found].some((node) => node.role === "primary")) {
    const { error, is_standby, address } = copy.sync.primary;
    if (error === null && !is_standby) found.push({ name: "primary", role: "primary", heard: { address } });
  }
  return found;
}

/** Fill `list` with what needs a person. */
export function showAlerts(list, status) {
  const found = status.nodes.flatMap((node) => node.problems.map((problem) => `${node.name}: ${problem}`));
  const shown = [...list.children].map((item) => item.textContent);
  if (found.join("\n") === shown.join("\n")) return;
  list.replaceChildren(...found.map((problem) => make("li", {}, problem)));
}

function link(node, leader) {
  const [state, word, behind] = standing(node, leader);
  return make("div", { className: "link", "data-state": state }, make("b", {}, behind), " ", make("i", {}, word));
}

// → [ok, late or cut; what it does; how far behind]
function standing(node, leader) {
  if (node.heard) {
    const { lag_bytes, age_seconds, server } = node.heard;
    const fresh = age_seconds !== null && age_seconds < LATE_SECONDS;
    const behind = lag_bytes === null ? "–" : `${bytes(lag_bytes)} behind ${leader}`;
    return [fresh && server === "running" ? "ok" : "cut", fresh ? `server ${server}` : "not heard", behind];
  }
  if (node.health === "down") return ["cut", "does not answer", "–"];
  if (node.sync) {
    const copy = node.sync.copy;
    const behind = copy.seconds_behind === null ? "not copied yet" : `${duration(copy.seconds_behind)} behind ${leader}`;
    const state = node.sync.condition !== "following" ? "cut" : copy.seconds_behind > LATE_SECONDS ? "late" : "ok";
    return [state, node.sync.condition, behind];
  }
  const follows = node.replication;
  if (!follows) return ["cut", "no replication", "–"];
  if (follows.lag_bytes === null) return ["cut", follows.state, "–"];
  const way = follows.sync_state === "async" ? "" : `, ${follows.sync_state}`;
  const late = follows.state !== "streaming" ? "cut" : follows.lag_bytes > LATE_BYTES ? "late" : "ok";
  return [late, `${follows.state}${way}`, `${bytes(follows.lag_bytes)} behind ${leader}`];
}

function card(node) {
  const head = make(
    "header",
    {},
    make("h3", {}, node.name),
    make("span", { className: "role" }, node.role),
    node.heard ? null : make("span", { className: "pill", "data-health": node.health }, node.health),
  );
  const list = make("dl");
  for (const [term, value] of facts(node)) {
    if (value !== null) list.append(make("dt", {}, term), make("dd", {}, value));
  }
  return make("article", { className: "node", "data-node": node.name, "aria-label": `node ${node.name}` }, head, list);
}

function facts(node) {
  if (node.heard) return told(node.heard);
  const { counts, versions } = node;
  const running = node.services.filter((one) => one.state === "running").length;
  return [
    ["condition", node.failover ? `${node.failover.condition}, epoch ${node.failover.epoch}` : null],
    ["kept", counts ? `${short(counts.documents)} documents, ${short(counts.chunks)} chunks` : null],
    ["queue", counts ? (counts.waiting ? `${short(counts.waiting)} to index` : "empty") : null],
    ["to send", node.sync ? sending(node.sync.copy) : null],
    ["model", node.model.bound ? node.model.bound.model.split("/").pop() : "none yet"],
    ["backup", node.backups ? backup(node.backups) : null],
    ["services", `${running} of ${node.services.length} run`],
    ["versions", versions.postgresql ? `PostgreSQL ${versions.postgresql}, pgvector ${versions.pgvector}` : null],
  ];
}

// Of a node elsewhere, from what was heard of it.
function told(heard) {
  return [
    ["where", heard.address ?? "on a machine of its own"],
    ["epoch", heard.epoch === undefined || heard.epoch === null ? null : String(heard.epoch)],
    ["server", heard.server ?? null],
    ["heard", heard.age_seconds === undefined || heard.age_seconds === null ? null : `${duration(heard.age_seconds)} ago`],
    ["trouble", heard.error ?? null],
  ];
}

function sending(copy) {
  const waiting = copy.waiting + copy.sending;
  const held = copy.rejected + copy.held;
  return `${counted(waiting, "change")}${held ? `, ${held} held` : ""}`;
}

function backup(backups) {
  if (!backups.newest) return "none";
  return `${duration(Math.max(0, Date.now() / 1000 - Date.parse(backups.newest) / 1000))} ago, ${backups.count} kept`;
}
