// Addresses ↔ screens.

export type Screen = "week" | "space" | "images" | "plans" | "plan" | "where" | "runs" | "run" | "health" | "none";

/** A screen; `id` is the sum of a plan or the name of a run, `search` what follows the question mark. */
export interface Route {
  screen: Screen;
  id: string;
  search: URLSearchParams;
}

export const SCREENS = [
  { screen: "week", path: "/", title: "This week" },
  { screen: "space", path: "/space", title: "Space" },
  { screen: "images", path: "/images", title: "Images" },
  { screen: "plans", path: "/plans", title: "Plans" },
  { screen: "where", path: "/where", title: "Where is my image" },
  { screen: "runs", path: "/runs", title: "Runs" },
  { screen: "health", path: "/health", title: "Health" },
] as const;

/** The screen of an address. */
export function routeOf(path: string, search = ""): Route {
  const [first = "", second = "", ...more] = path.split("/").slice(1).map(decoded);
  const found = { id: second, search: new URLSearchParams(search) };
  if (more.length > 0) return { screen: "none", ...found };
  if (second) return { screen: first === "plans" ? "plan" : first === "runs" ? "run" : "none", ...found };
  return { screen: SCREENS.find((one) => one.path === `/${first}`)?.screen ?? "none", ...found };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The screen that the navigation marks as the current one. */
export function partOf(screen: Screen): Screen {
  if (screen === "plan") return "plans";
  return screen === "run" ? "runs" : screen;
}

/** What a screen is called. */
export function titleOf(route: Route): string {
  if (route.screen === "plan") return `Plan ${route.id.slice(0, 19)}`;
  if (route.screen === "run") return `Run ${route.id}`;
  return SCREENS.find((one) => one.screen === route.screen)?.title ?? "There is no such page";
}

export const planPath = (sum: string): string => `/plans/${part(sum)}`;
export const runPath = (run: string): string => `/runs/${part(run)}`;
export const wherePath = (of: string): string => `/where?of=${part(of)}`;
export const imagesPath = (words: string): string => `/images?q=${part(words)}`;

/** A part of an address; the colon of a digest may stay. */
export function part(text: string): string {
  return encodeURIComponent(text).replaceAll("%3A", ":");
}
