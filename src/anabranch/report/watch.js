// Before all else: what goes wrong is noted on the page itself, where a reader, or a test, can see it.
(function () {
  "use strict";
  const root = document.documentElement;
  root.dataset.errors = "0";
  function note(text) {
    root.dataset.errors = String(Number(root.dataset.errors) + 1);
    root.dataset.lastError = String(text);
  }
  window.addEventListener("error", (event) => note(event.message));
  window.addEventListener("unhandledrejection", (event) => note(event.reason));
  document.addEventListener("securitypolicyviolation", (event) => note("blocked " + event.blockedURI));
})();
