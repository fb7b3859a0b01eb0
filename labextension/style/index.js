import './run.css';
import './lab.css';
