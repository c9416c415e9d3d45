import { mount } from "svelte";
import "./app.css";
import Saved from "./Saved.svelte";

const target = document.getElementById("app");
if (target) mount(Saved, { target });
