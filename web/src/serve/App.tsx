// The page: its header, and the screen of its address.

import { useEffect, useRef } from "preact/hooks";
import { listen } from "./events";
import { Header } from "./Header";
import { Health } from "./Health";
import { Images } from "./Images";
import type { Session } from "./model";
import { Failure, Title } from "./parts";
import { Plans } from "./Plans";
import { PlanScreen } from "./PlanScreen";
import { routeOf, titleOf, type Route } from "./route";
import { Runs } from "./Runs";
import { RunScreen } from "./RunScreen";
import { SpaceScreen } from "./SpaceScreen";
import { go, isUnknown, notice, refused, route, session, useReading } from "./state";
import { Week } from "./Week";
import { Where } from "./Where";

export function App() {
  const reading = useReading<Session>("session", ["report", "images", "plans", "store"]);
  const { value, error } = reading.value;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const here = [route.value.screen, route.value.id, route.value.search.get("of") ?? ""].join(" ");

  useEffect(() => {
    listen((why) => void refused(why));
    const back = (): void => void (route.value = routeOf(location.pathname, location.search));
    addEventListener("popstate", back);
    document.addEventListener("click", follow);
    return () => {
      removeEventListener("popstate", back);
      document.removeEventListener("click", follow);
    };
  }, []);
  useEffect(() => {
    if (value !== null) session.value = value;
  }, [value]);
  useEffect(() => {
    document.title = `${titleOf(route.value)} - ${value?.registry ?? "dregutil"}`;
  }, [here, value?.registry]);
  useEffect(() => {
    if (!isFirst.current) main.current?.querySelector<HTMLElement>("#title")?.focus();
    isFirst.current = false;
  }, [here]);

  if (isUnknown.value) return <Unknown />;
  if (session.value === null && error !== null) {
    return (
      <main>
        <Title>dregutil</Title>
        <Failure error={error} />
      </main>
    );
  }
  if (session.value === null) return <p role="status" class="quiet">Loading…</p>;
  return (
    <>
      <a class="skip" href="#title">
        To the content
      </a>
      <Header session={session.value} />
      <main ref={main}>
        <Shown key={here} route={route.value} />
      </main>
      <p class="unseen" role="status">
        {notice.value}
      </p>
      <footer>{session.value.program}</footer>
    </>
  );
}

function Shown({ route }: { route: Route }) {
  switch (route.screen) {
    case "week":
      return <Week />;
    case "space":
      return <SpaceScreen />;
    case "images":
      return <Images />;
    case "plans":
      return <Plans />;
    case "plan":
      return <PlanScreen sum={route.id} />;
    case "where":
      return <Where />;
    case "runs":
      return <Runs />;
    case "run":
      return <RunScreen run={route.id} />;
    case "health":
      return <Health />;
    default:
      return (
        <>
          <Title>There is no such page</Title>
          <p>
            Nothing has the address <code>{location.pathname.slice(0, 200)}</code>. <a href="/">To this week</a>
          </p>
        </>
      );
  }
}

function Unknown() {
  return (
    <main>
      <Title>The server does not know you</Title>
      <p>Open the URL that the terminal shows where dregutil serve was started. It works once; the browser is known from then on.</p>
    </main>
  );
}

/** A click on a link of this page changes the screen, without loading the page again. */
function follow(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.("a");
  const path = link?.getAttribute("href");
  if (!path?.startsWith("/") || path.startsWith("//")) return;
  event.preventDefault();
  go(path);
}
