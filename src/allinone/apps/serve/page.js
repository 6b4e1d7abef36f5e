// Browser side of the page. The data-do attribute of a button names the event that is sent to the server.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const { segment, start, end } = button.dataset;
  trigger(button.dataset.do, { segment, start, end });
  if (button.dataset.do === "click") document.getElementById("player").scrollIntoView({ block: "nearest" });
});

element.addEventListener("change", async (event) => {
  const file = event.target.files?.[0];
  if (!file) return;
  const note = element.querySelector("[role=status]");
  note.className = "note";
  note.textContent = "sending ...";
  try {
    const type = file.type || "application/octet-stream";
    const answer = await fetch("api/uploads", { method: "POST", headers: { "content-type": type }, body: file });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.detail);
    note.textContent = "";
    trigger("upload", { upload: said.upload, name: file.name });
  } catch (error) {
    note.className = "problem";
    note.textContent = error instanceof TypeError ? "The file did not get through; it may be too large." : error.message;
  }
});

// Replaces a video that the browser cannot play, or of which it plays only the sound.
function playInstead({ target: video, type }) {
  if (video.tagName !== "VIDEO" || (type === "loadedmetadata" && video.videoWidth > 0)) return;
  if (video.dataset.instead) {
    video.src = video.dataset.instead;
    delete video.dataset.instead;
    return;
  }
  const note = document.createElement("p");
  note.className = "problem";
  note.textContent = "This video cannot be played.";
  video.replaceWith(note);
}
element.addEventListener("error", playInstead, true);
element.addEventListener("loadedmetadata", playInstead, true);
